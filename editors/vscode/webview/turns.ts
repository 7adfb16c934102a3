// The HTML element of a message: markdown, code with buttons, and a note about an incomplete answer.
import type { FromWebview } from "../src/chat/messages";
import type { Turn } from "../src/protocol";
import { render } from "./markdown";

const NAMES = { user: "You", assistant: "StarCoder", system: "System" } as const;
const ENDINGS: Record<string, string> = {
  stopped: "(stopped)",
  "cut off": "(cut off: the answer was too long)",
  failed: "(interrupted by an error)",
};

type Post = (message: FromWebview) => void;

/** Return a button that runs an action. */
export function button(label: string, action: () => void): HTMLButtonElement {
  const element = document.createElement("button");
  element.type = "button";
  element.textContent = label;
  element.addEventListener("click", action);
  return element;
}

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

/** Return the element of a message. */
export function turnElement(turn: Turn, post: Post): HTMLElement {
  const article = document.createElement("article");
  article.className = `turn ${turn.role}`;
  const head = document.createElement("div");
  head.className = "head";
  const name = document.createElement("h2");
  name.textContent = NAMES[turn.role];
  head.append(name);
  article.append(head);
  for (const { label } of turn.attachments) {
    const chip = document.createElement("span");
    chip.className = "chip";
    chip.textContent = label;
    article.append(chip);
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
  }
  article.append(body);
  const ending = ENDINGS[turn.state];
  if (ending !== undefined) {
    const mark = document.createElement("p");
    mark.className = "ending";
    mark.textContent = ending;
    article.append(mark);
  }
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
