// The HTML elements of a conversation: markdown, code with buttons, and notes about its answers.
import type { FromWebview, Shown } from "../src/chat/messages";
import type { Turn } from "../src/protocol";
import { button, labelled } from "./elements";
import { render } from "./markdown";

const NAMES = { user: "You", assistant: "StarCoder", system: "System" } as const;
const ENDINGS: Record<string, string> = {
  stopped: "(stopped)",
  "cut off": "(cut off: the answer reached its maximum length)",
  failed: "(interrupted by an error)",
};

type Post = (message: FromWebview) => void;

/** Render an answer, possibly a partial one, and add buttons to its code blocks. */
export function renderAnswer(body: HTMLElement, text: string, post: Post): void {
  body.innerHTML = render(text, window);
  for (const block of body.querySelectorAll("pre")) {
    const code = block.textContent ?? "";
    const bar = document.createElement("div");
    bar.className = "code-bar";
    bar.setAttribute("role", "group");
    bar.setAttribute("aria-label", "Code");
    bar.append(
      button("Copy", () => post({ type: "copy", code })),
      button("Insert", () => post({ type: "insert", code })),
      button("Apply to selection", () => post({ type: "apply", code })),
    );
    block.before(bar);
    // The arrow keys scroll code that is wider than the panel only if it can have the focus.
    block.tabIndex = 0;
    block.setAttribute("role", "region");
    block.setAttribute("aria-label", "Code");
  }
}

/** Return the elements of a conversation. */
export function conversationElements(shown: Shown, post: Post): HTMLElement[] {
  const { turns, partial, continues } = shown;
  const elements: HTMLElement[] = [];
  let model = "";
  for (const [index, turn] of turns.entries()) {
    if (turn.model !== "" && model !== "" && turn.model !== model) {
      elements.push(
        labelled("p", "model-change", `The model changed to ${shortName(turn.model)}.`),
      );
    }
    model = turn.model || model;
    const isLast = index === turns.length - 1;
    if (isLast && partial !== null && continues) {
      elements.push(streamingElement(turn, turn.content + partial, post));
    } else {
      const article = turnElement(turn, post);
      if (isLast && partial === null) {
        article.append(...endings(turn, post));
      } else if (ENDINGS[turn.state] !== undefined) {
        article.append(labelled("p", "ending", ENDINGS[turn.state] ?? ""));
      }
      elements.push(article);
    }
  }
  if (partial !== null && !continues) {
    elements.push(streamingElement(NEW_ANSWER, partial, post));
  }
  return elements;
}

const NEW_ANSWER: Turn = {
  id: "",
  role: "assistant",
  content: "",
  attachments: [],
  state: "whole",
  model: "",
};

/** Return a model's name without the folder or organization before it. */
export function shortName(model: string): string {
  return model.split(/[/\\]/).at(-1) || model;
}

function streamingElement(turn: Turn, text: string, post: Post): HTMLElement {
  const article = turnElement({ ...turn, content: text, state: "whole" }, post);
  article.classList.add("streaming");
  return article;
}

/** Return how the last turn ended, and what can be done about it. */
function endings(turn: Turn, post: Post): HTMLElement[] {
  const retry = () => button("Retry", () => post({ type: "retry" }));
  const goOn = () => button("Continue", () => post({ type: "continue" }));
  const line = (text: string, ...buttons: HTMLElement[]) => {
    const ending = labelled("p", "ending", text);
    ending.append(...buttons.flatMap((each) => [" ", each]));
    return [ending];
  };
  if (turn.role === "user") {
    return line("(not answered)", retry());
  }
  const ending = ENDINGS[turn.state];
  if (ending !== undefined) {
    return line(ending, turn.content === "" ? retry() : goOn());
  }
  return turn.content === "" ? line("(the model wrote nothing)", retry()) : [];
}

function turnElement(turn: Turn, post: Post): HTMLElement {
  const article = document.createElement("article");
  article.className = `turn ${turn.role}`;
  article.dataset.turn = turn.id;
  const head = document.createElement("div");
  head.className = "head";
  head.append(labelled("h2", "", NAMES[turn.role]));
  article.append(head);
  for (const { label } of turn.attachments) {
    article.append(labelled("span", "chip", label));
  }
  const body = document.createElement("div");
  body.className = "body";
  if (turn.role === "user") {
    body.textContent = turn.content;
    if (turn.id !== "") {
      head.append(button("Edit", () => startEdit(article, turn, post)));
    }
  } else {
    renderAnswer(body, turn.content, post);
    if (turn.model !== "") {
      const name = labelled("span", "answered-by", shortName(turn.model));
      name.title = `Answered by ${turn.model}`;
      head.append(name);
    }
  }
  article.append(body);
  return article;
}

function startEdit(article: HTMLElement, turn: Turn, post: Post): void {
  const area = document.createElement("textarea");
  area.value = turn.content;
  area.rows = 3;
  area.setAttribute("aria-label", "Edit message");
  area.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      area.disabled = true;
      post({ type: "edit", turn: turn.id, text: area.value });
    } else if (event.key === "Escape") {
      article.replaceWith(turnElement(turn, post));
    }
  });
  article.querySelector(".body")?.replaceWith(area);
  area.focus();
}
