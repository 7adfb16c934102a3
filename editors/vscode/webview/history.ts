// The list of earlier conversations: search, dates, renaming and deleting, also by keyboard.
import type { FromWebview } from "../src/chat/messages";
import type { ConversationSummary } from "../src/protocol";
import { relativeDate } from "./dates";
import { button, element, labelled } from "./elements";

/** Milliseconds without a key after which the search begins. */
const DELAY_MS = 150;

export class History {
  private readonly panel = element("past");
  private readonly search = element<HTMLInputElement>("search");
  private readonly list = element("list");
  private readonly toggle = element("history");
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly post: (message: FromWebview) => void) {
    this.toggle.addEventListener("click", () => (this.panel.hidden ? this.open() : this.close()));
    this.search.addEventListener("input", () => {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.request(), DELAY_MS);
    });
    this.panel.addEventListener("keydown", (event) => this.handleKey(event));
  }

  /** Show the conversations that the server has found. */
  show(conversations: ConversationSummary[]): void {
    const focused = this.titles().findIndex((title) =>
      title.parentElement?.matches(":focus-within"),
    );
    this.list.replaceChildren(...conversations.map((summary) => this.row(summary)));
    if (conversations.length === 0) {
      this.list.textContent =
        this.search.value.trim() === ""
          ? "No earlier conversations in this workspace."
          : "No conversation contains these words.";
    }
    if (focused >= 0) {
      (this.titles()[Math.min(focused, conversations.length - 1)] ?? this.search).focus();
    }
  }

  private open(): void {
    this.panel.hidden = false;
    this.toggle.setAttribute("aria-expanded", "true");
    this.search.value = "";
    this.search.focus();
    this.request();
  }

  private close(): void {
    this.panel.hidden = true;
    this.toggle.setAttribute("aria-expanded", "false");
    this.toggle.focus();
  }

  private request(): void {
    this.post({ type: "history", query: this.search.value });
  }

  private titles(): HTMLElement[] {
    return [...this.list.querySelectorAll<HTMLElement>(".row > :first-child")];
  }

  private row(summary: ConversationSummary): HTMLElement {
    const { id: conversation, title, changed } = summary;
    const date = new Date(changed * 1000);
    const row = document.createElement("div");
    row.className = "row";
    const open = button("", () => {
      this.close();
      this.post({ type: "open", conversation });
    });
    const time = document.createElement("time");
    time.dateTime = date.toISOString();
    time.textContent = relativeDate(date, new Date());
    open.append(labelled("span", "title", title), time);
    open.title = `${title}\n${date.toLocaleString()}`;
    const rename = button("✎", () => this.rename(row, summary));
    rename.title = "Rename";
    rename.setAttribute("aria-label", `Rename ${title}`);
    const query = () => this.search.value;
    const remove = button("✕", () => this.post({ type: "delete", conversation, query: query() }));
    remove.title = "Delete";
    remove.setAttribute("aria-label", `Delete ${title}`);
    row.append(open, rename, remove);
    return row;
  }

  private rename(row: HTMLElement, summary: ConversationSummary): void {
    const input = document.createElement("input");
    input.value = summary.title;
    input.setAttribute("aria-label", "New title");
    const restore = () => {
      const original = this.row(summary);
      row.replaceWith(original);
      original.querySelector("button")?.focus();
    };
    input.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key === "Enter" && !event.isComposing) {
        event.preventDefault();
        const title = input.value;
        const query = this.search.value;
        this.post({ type: "rename", conversation: summary.id, title, query });
      } else if (event.key === "Escape") {
        restore();
      }
    });
    row.replaceChildren(input);
    input.focus();
    input.select();
  }

  private handleKey(event: KeyboardEvent): void {
    const titles = this.titles();
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") {
      event.preventDefault();
      this.close();
    } else if (step !== undefined && titles.length > 0) {
      event.preventDefault();
      const focused = titles.findIndex((title) => title.parentElement?.matches(":focus-within"));
      (titles[Math.min(focused + step, titles.length - 1)] ?? this.search).focus();
    }
  }
}
