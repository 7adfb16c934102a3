// One turn of a conversation as the page shows it: markdown, code with its buttons, how it ended.
import type { FromWebview } from "../src/chat/messages";
import type { Turn } from "../src/protocol";
import { render } from "./markdown";

const NAMES = { user: "You", assistant: "StarCoder", system: "System" } as const;
const ENDINGS: Record<string, string> = {
  stopped: "(stopped)",
  "cut off": "(cut off: the answer was too long)",
  failed: "(broken off)",
};

type Post = (message: FromWebview) => void;

/** Return a button that does something. */
export function button(label: string, act: () => void): HTMLButtonElement {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = label;
  made.addEventListener("click", act);
  return made;
}

/** Show an answer as far as it has come. */
export function fill(body: HTMLElement, text: string, post: Post): void {
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
    // What is wider than the panel is scrolled by the arrow keys.
    block.tabIndex = 0;
    block.setAttribute("role", "region");
    block.setAttribute("aria-label", "Code");
  }
}

export function turnElement(turn: Turn, post: Post): HTMLElement {
  const made = document.createElement("article");
  made.className = `turn ${turn.role}`;
  const head = document.createElement("div");
  head.className = "head";
  const name = document.createElement("h2");
  name.textContent = NAMES[turn.role];
  head.append(name);
  made.append(head);
  for (const one of turn.attachments) {
    const chip = document.createElement("span");
    chip.className = "chip";
    chip.textContent = one.label;
    made.append(chip);
  }
  const body = document.createElement("div");
  body.className = "body";
  if (turn.role === "user") {
    body.textContent = turn.content;
    if (turn.id !== "") {
      head.append(button("Edit", () => beginEdit(made, turn, post)));
    }
  } else {
    fill(body, turn.content, post);
  }
  made.append(body);
  const ending = ENDINGS[turn.state];
  if (ending !== undefined) {
    const mark = document.createElement("p");
    mark.className = "ending";
    mark.textContent = ending;
    made.append(mark);
  }
  return made;
}

function beginEdit(article: HTMLElement, turn: Turn, post: Post): void {
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
