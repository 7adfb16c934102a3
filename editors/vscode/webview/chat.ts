// The script of the chat's page. It shows the extension's messages and reports the user's actions.
import type { FromWebview, Shown, ToWebview } from "../src/chat/messages";
import type { ChatModel, Chip } from "../src/protocol";
import { button, element, labelled } from "./elements";
import { History } from "./history";
import { Recall } from "./recall";
import { Runs } from "./runs";
import { conversationElements, renderAnswer, shortName } from "./turns";

interface State {
  /** The text in the input. */
  draft: string;
}

declare function acquireVsCodeApi(): {
  postMessage(message: FromWebview): void;
  getState(): State | undefined;
  setState(state: State): void;
};

const api = acquireVsCodeApi();
const post = (message: FromWebview) => api.postMessage(message);
const log = element("log");
const note = element("note");
const chips = element("chips");
const input = element<HTMLTextAreaElement>("input");
const stop = element<HTMLButtonElement>("stop");
const send = element<HTMLButtonElement>("send");
const retry = element<HTMLButtonElement>("retry");
const history = new History(post);
const runs = new Runs(log, post);

let shown: Shown = { turns: [], partial: null, continues: false };
/** Whether a message was handed over, and the extension has not answered yet. */
let isSending = false;
let loading = "";
let recall = new Recall([]);
let slashCommands: { name: string; description: string }[] = [];

function isAnswering(): boolean {
  return isSending || shown.partial !== null;
}

function showButtons(): void {
  stop.hidden = !isAnswering();
  send.hidden = isAnswering();
  retry.disabled = isAnswering() || shown.turns.length === 0;
  log.setAttribute("aria-busy", String(isAnswering()));
}

function setInput(text: string): void {
  input.value = text;
  input.setSelectionRange(text.length, text.length);
  reportDraft();
}

function reportDraft(): void {
  api.setState({ draft: input.value });
  post({ type: "draft", text: input.value });
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

function showConversation(conversation: Shown): void {
  isSending = false;
  shown = conversation;
  const questions = shown.turns.filter(({ role }) => role === "user");
  recall = new Recall(questions.map(({ content }) => content));
  log.replaceChildren(...conversationElements(shown, post));
  runs.showAll();
  log.scrollTop = log.scrollHeight;
  note.textContent = "";
  showLoading();
  showButtons();
}

function addToAnswer(text: string): void {
  const body = log.querySelector<HTMLElement>(".streaming .body");
  if (shown.partial === null || body === null) {
    return;
  }
  const isFirst = shown.partial === "";
  shown = { ...shown, partial: shown.partial + text };
  const before = shown.continues ? (shown.turns.at(-1)?.content ?? "") : "";
  renderAnswer(body, before + shown.partial, post);
  if (isFirst) {
    showLoading();
  }
}

/** While the answer has no text yet, show the progress of loading the model in its place. */
function showLoading(): void {
  const article = log.querySelector(".streaming");
  article?.querySelector(".loading")?.remove();
  if (article && shown.partial === "" && loading !== "") {
    article.append(labelled("p", "loading", loading));
  }
}

function showChips(attached: Chip[]): void {
  const sizes = attached.map(({ tokens }) => tokens ?? 0);
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const room = attached.find((chip) => chip.room !== null)?.room ?? Number.POSITIVE_INFINITY;
  chips.replaceChildren(
    ...attached.map((chip, index) => {
      const size = chip.tokens === null ? "" : ` · ${chip.tokens} tokens`;
      const label = `${chip.label}${size}`;
      const target =
        chip.source === "cursor"
          ? labelled("span", "chip", `${label} · at the cursor`)
          : button(`${label} ✕`, () => post({ type: "detach", index }));
      target.className = (chip.tokens ?? 0) > room ? "chip too-large" : "chip";
      target.title = chip.source === "cursor" ? "The command uses this code" : "Remove";
      return target;
    }),
  );
  element("size").textContent =
    total > room
      ? `Too large: ${total} tokens are attached, and there is room for ${room}. ` +
        "Attach a selection instead."
      : "";
}

function showModel({ model, hint }: ChatModel): void {
  const line = element("model");
  const text = line.querySelector("span");
  if (text !== null) {
    const name = `Model: ${shortName(model)}`;
    text.textContent = hint === "" ? name : `${name}, ${hint}.`;
    text.title = model;
  }
  element("choose").hidden = hint === "";
}

function showServer(isRunning: boolean, message: string): void {
  const notice = element("server");
  const text = notice.querySelector("span");
  notice.hidden = isRunning;
  if (text !== null) {
    text.textContent = `${message || "The server is not running."} What you write stays here.`;
  }
}

window.addEventListener("message", (event: MessageEvent<ToWebview>) => {
  const message = event.data;
  keepAtEnd(() => receive(message));
});

function receive(message: ToWebview): void {
  switch (message.type) {
    case "conversation":
      showConversation(message);
      break;
    case "chunk":
      addToAnswer(message.text);
      break;
    case "restore":
      isSending = false;
      setInput([message.text, input.value].filter(Boolean).join("\n"));
      showButtons();
      break;
    case "note":
      note.textContent = message.text;
      break;
    case "chips":
      showChips(message.chips);
      break;
    case "unmention":
      setInput(input.value.replace(message.mention, message.mention.slice(1)));
      break;
    case "history":
      history.show(message.conversations);
      break;
    case "commands":
      slashCommands = message.commands;
      break;
    case "model":
      showModel(message);
      break;
    case "server":
      loading = message.loading;
      showLoading();
      showServer(message.isRunning, message.message);
      break;
    case "ran":
      runs.receive(message);
      break;
    case "focus":
      input.focus();
      break;
    case "insertText":
      input.setRangeText(message.text, input.selectionStart, input.selectionEnd, "end");
      reportDraft();
      break;
  }
}

function submit(): void {
  const text = input.value;
  if (text.trim() !== "" && !isAnswering()) {
    isSending = true;
    note.textContent = "";
    input.value = "";
    api.setState({ draft: "" });
    showButtons();
    post({ type: "send", text });
  }
}

/** Show an earlier or later question in the input. Returns false if the key moves the cursor. */
function recallQuestion(key: string): boolean {
  const question = key === "ArrowUp" ? recall.earlier(input.value) : recall.later(input.value);
  if (question !== undefined) {
    setInput(question);
  }
  return question !== undefined;
}

element("form").addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
input.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    submit();
  } else if (event.key === "Escape" && isAnswering()) {
    post({ type: "stop" });
  } else if (event.key === "ArrowUp" || event.key === "ArrowDown") {
    if (recallQuestion(event.key)) {
      event.preventDefault();
    }
  } else if (event.key === "@" && /(^|\s)$/.test(input.value.slice(0, input.selectionStart))) {
    event.preventDefault();
    post({ type: "attachFile", typed: true });
  }
});
input.addEventListener("input", () => {
  reportDraft();
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
element("start").addEventListener("click", () => post({ type: "start" }));
element("choose").addEventListener("click", () => post({ type: "chooseModel" }));
element("selection").addEventListener("click", () => post({ type: "attachSelection" }));
element("file").addEventListener("click", () => post({ type: "attachFile", typed: false }));

setInput(api.getState()?.draft ?? "");
showButtons();
post({ type: "ready" });
