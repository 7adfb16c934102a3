// The chat's page: shows what it is told, and says what was clicked.
import type { FromWebview, ToWebview } from "../src/chat/messages";
import type { Chip, Summary, Turn } from "../src/protocol";
import { button, fill, turnElement } from "./turns";

declare function acquireVsCodeApi(): { postMessage(message: FromWebview): void };

const api = acquireVsCodeApi();
const post = (message: FromWebview) => api.postMessage(message);

function element<T extends HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (found === null) {
    throw new Error(`no element ${id}`);
  }
  return found as T;
}

const log = element("log");
const note = element("note");
const past = element("past");
const chips = element("chips");
const input = element<HTMLTextAreaElement>("input");
const stop = element<HTMLButtonElement>("stop");
const send = element<HTMLButtonElement>("send");
const retry = element<HTMLButtonElement>("retry");

let answering: { body: HTMLElement; text: string } | undefined;
let slashCommands: { name: string; description: string }[] = [];

function setAnswering(on: boolean): void {
  stop.hidden = !on;
  send.hidden = on;
  retry.disabled = on;
  log.setAttribute("aria-busy", String(on));
}

function atEnd(): boolean {
  return log.scrollHeight - log.scrollTop - log.clientHeight < 40;
}

function keepAtEnd(change: () => void): void {
  const was = atEnd();
  change();
  if (was) {
    log.scrollTop = log.scrollHeight;
  }
}

function beginAnswer(): { body: HTMLElement; text: string } {
  const empty: Turn = { id: "", role: "assistant", content: "", attachments: [], state: "whole" };
  const made = turnElement(empty, post);
  made.classList.add("streaming");
  log.append(made);
  const body = made.querySelector<HTMLElement>(".body") ?? made;
  return { body, text: "" };
}

function showChips(found: Chip[]): void {
  chips.replaceChildren(
    ...found.map((chip, index) => {
      const made = button(`${chip.label} · ${chip.tokens} tokens ✕`, () =>
        post({ type: "detach", index }),
      );
      made.className = "chip";
      made.title = "Remove";
      return made;
    }),
  );
}

function showHistory(found: Summary[]): void {
  past.hidden = false;
  element("history").setAttribute("aria-expanded", "true");
  past.replaceChildren(
    ...found.map((one) => {
      const row = document.createElement("div");
      const when = new Date(one.changed * 1000).toLocaleString();
      const open = button(one.title, () => {
        past.hidden = true;
        post({ type: "open", conversation: one.id });
      });
      open.title = when;
      const away = button("✕", () => post({ type: "delete", conversation: one.id }));
      away.setAttribute("aria-label", `Delete ${one.title}`);
      row.append(open, away);
      return row;
    }),
  );
  if (found.length === 0) {
    past.textContent = "No earlier conversations in this workspace.";
  }
}

window.addEventListener("message", (event: MessageEvent<ToWebview>) => {
  const message = event.data;
  keepAtEnd(() => received(message));
});

function received(message: ToWebview): void {
  switch (message.type) {
    case "conversation":
      log.replaceChildren(
        ...(message.conversation?.turns ?? []).map((one) => turnElement(one, post)),
      );
      answering = undefined;
      log.scrollTop = log.scrollHeight;
      break;
    case "asked":
      note.textContent = "";
      log.append(turnElement(message.turn, post));
      log.scrollTop = log.scrollHeight;
      setAnswering(true);
      break;
    case "piece":
      setAnswering(true);
      answering ??= beginAnswer();
      answering.text += message.text;
      fill(answering.body, answering.text, post);
      break;
    case "answered":
      log.querySelector(".streaming")?.remove();
      answering = undefined;
      log.append(turnElement(message.turn, post));
      note.textContent =
        message.leftOut > 0
          ? `${message.leftOut} earlier messages did not fit and were left out.`
          : "";
      setAnswering(false);
      break;
    case "failed":
      answering = undefined;
      log.querySelector(".streaming")?.classList.remove("streaming");
      note.textContent = message.message;
      setAnswering(false);
      break;
    case "chips":
      showChips(message.chips);
      break;
    case "history":
      showHistory(message.conversations);
      break;
    case "commands":
      slashCommands = message.commands;
      break;
    case "focus":
      input.focus();
      break;
    case "typed":
      input.setRangeText(message.text, input.selectionStart, input.selectionEnd, "end");
      break;
  }
}

function submit(): void {
  const text = input.value;
  if (text.trim() !== "" && stop.hidden) {
    input.value = "";
    note.textContent = "";
    setAnswering(true);
    post({ type: "send", text });
  }
}

element("form").addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
input.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    submit();
  } else if (event.key === "Escape" && !stop.hidden) {
    post({ type: "stop" });
  } else if (event.key === "@" && /(^|\s)$/.test(input.value.slice(0, input.selectionStart))) {
    event.preventDefault();
    post({ type: "attachFile", typed: true });
  }
});
input.addEventListener("input", () => {
  const begun = input.value.startsWith("/") ? input.value.slice(1) : undefined;
  const fitting = slashCommands.filter((one) => begun !== undefined && one.name.startsWith(begun));
  note.textContent = fitting.map((one) => `/${one.name}: ${one.description}`).join("   ");
});
stop.addEventListener("click", () => post({ type: "stop" }));
retry.addEventListener("click", () => post({ type: "retry" }));
element("new").addEventListener("click", () => post({ type: "new" }));
element("export").addEventListener("click", () => post({ type: "export" }));
element("selection").addEventListener("click", () => post({ type: "attachSelection" }));
element("file").addEventListener("click", () => post({ type: "attachFile", typed: false }));
element("history").addEventListener("click", () => {
  if (past.hidden) {
    post({ type: "history" });
  } else {
    past.hidden = true;
    element("history").setAttribute("aria-expanded", "false");
  }
});

post({ type: "ready" });
