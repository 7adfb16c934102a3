// The script of the chat's page. It shows the extension's messages and reports the user's actions.
import type { FromWebview, ToWebview } from "../src/chat/messages";
import type { Chip, ConversationSummary, Turn } from "../src/protocol";
import { button, renderAnswer, turnElement } from "./turns";

declare function acquireVsCodeApi(): { postMessage(message: FromWebview): void };

const api = acquireVsCodeApi();
const post = (message: FromWebview) => api.postMessage(message);

function element<T extends HTMLElement>(id: string): T {
  const target = document.getElementById(id);
  if (target === null) {
    throw new Error(`no element has the id ${id}`);
  }
  return target as T;
}

const log = element("log");
const note = element("note");
const past = element("past");
const chips = element("chips");
const input = element<HTMLTextAreaElement>("input");
const stop = element<HTMLButtonElement>("stop");
const send = element<HTMLButtonElement>("send");
const retry = element<HTMLButtonElement>("retry");

interface PartialAnswer {
  body: HTMLElement;
  text: string;
}

/** The answer that is being streamed. */
let partialAnswer: PartialAnswer | undefined;
let slashCommands: { name: string; description: string }[] = [];

function setAnswering(isAnswering: boolean): void {
  stop.hidden = !isAnswering;
  send.hidden = isAnswering;
  retry.disabled = isAnswering;
  log.setAttribute("aria-busy", String(isAnswering));
}

function isScrolledToEnd(): boolean {
  return log.scrollHeight - log.scrollTop - log.clientHeight < 40;
}

/** Apply a change, and keep the log scrolled to its end if it was there. */
function keepAtEnd(change: () => void): void {
  const wasAtEnd = isScrolledToEnd();
  change();
  if (wasAtEnd) {
    log.scrollTop = log.scrollHeight;
  }
}

function startAnswer(): PartialAnswer {
  const empty: Turn = { id: "", role: "assistant", content: "", attachments: [], state: "whole" };
  const article = turnElement(empty, post);
  article.classList.add("streaming");
  log.append(article);
  const body = article.querySelector<HTMLElement>(".body") ?? article;
  return { body, text: "" };
}

function showChips(attached: Chip[]): void {
  chips.replaceChildren(
    ...attached.map((chip, index) => {
      const remove = button(`${chip.label} · ${chip.tokens} tokens ✕`, () =>
        post({ type: "detach", index }),
      );
      remove.className = "chip";
      remove.title = "Remove";
      return remove;
    }),
  );
}

function showHistory(conversations: ConversationSummary[]): void {
  past.hidden = false;
  element("history").setAttribute("aria-expanded", "true");
  past.replaceChildren(
    ...conversations.map(({ id, title, changed }) => {
      const row = document.createElement("div");
      const time = new Date(changed * 1000).toLocaleString();
      const open = button(title, () => {
        past.hidden = true;
        post({ type: "open", conversation: id });
      });
      open.title = time;
      const remove = button("✕", () => post({ type: "delete", conversation: id }));
      remove.setAttribute("aria-label", `Delete ${title}`);
      row.append(open, remove);
      return row;
    }),
  );
  if (conversations.length === 0) {
    past.textContent = "No earlier conversations in this workspace.";
  }
}

window.addEventListener("message", (event: MessageEvent<ToWebview>) => {
  const message = event.data;
  keepAtEnd(() => receive(message));
});

function receive(message: ToWebview): void {
  switch (message.type) {
    case "conversation":
      log.replaceChildren(
        ...(message.conversation?.turns ?? []).map((turn) => turnElement(turn, post)),
      );
      partialAnswer = undefined;
      log.scrollTop = log.scrollHeight;
      break;
    case "question":
      note.textContent = "";
      log.append(turnElement(message.turn, post));
      log.scrollTop = log.scrollHeight;
      setAnswering(true);
      break;
    case "chunk":
      setAnswering(true);
      partialAnswer ??= startAnswer();
      partialAnswer.text += message.text;
      renderAnswer(partialAnswer.body, partialAnswer.text, post);
      break;
    case "answer":
      log.querySelector(".streaming")?.remove();
      partialAnswer = undefined;
      log.append(turnElement(message.turn, post));
      note.textContent =
        message.leftOut > 0
          ? `${message.leftOut} earlier messages did not fit and were left out.`
          : "";
      setAnswering(false);
      break;
    case "failed":
      partialAnswer = undefined;
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
    case "insertText":
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
  const prefix = input.value.startsWith("/") ? input.value.slice(1) : undefined;
  const matches = slashCommands.filter(
    ({ name }) => prefix !== undefined && name.startsWith(prefix),
  );
  note.textContent = matches.map(({ name, description }) => `/${name}: ${description}`).join("   ");
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
