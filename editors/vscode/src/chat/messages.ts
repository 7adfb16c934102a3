// The messages between the chat's webview and the extension.
import type { ChatModel, Chip, CodeRun, ConversationSummary, Turn } from "../protocol";

export type FromWebview =
  | { type: "ready" }
  | { type: "send"; text: string }
  | { type: "edit"; turn: string; text: string }
  | { type: "retry" | "continue" | "stop" | "new" | "attachSelection" | "export" | "start" }
  | { type: "chooseModel" }
  /** The text in the input has changed. */
  | { type: "draft"; text: string }
  | { type: "history"; query: string }
  | { type: "rename"; conversation: string; title: string; query: string }
  | { type: "open"; conversation: string }
  | { type: "delete"; conversation: string; query: string }
  /** `typed`: the user typed an `@`, which stays in the text. */
  | { type: "attachFile"; typed: boolean }
  | { type: "detach"; index: number }
  | { type: "copy" | "insert" | "apply"; code: string }
  | ({ type: "run"; code: string } & BlockOfAnswer)
  | ({ type: "stopRun" } & BlockOfAnswer);

/** A fenced code block of an answer. */
export interface BlockOfAnswer {
  /** The id of the answer. */
  turn: string;
  /** The number of the block in the answer, from 0. */
  block: number;
}

/** The conversation as the page shows it. */
export interface Shown {
  turns: Turn[];
  /** The text of the answer that is being generated, null if there is none. */
  partial: string | null;
  /** Whether this text continues the last turn. */
  continues: boolean;
}

export type ToWebview =
  | ({ type: "conversation" } & Shown)
  | { type: "chunk"; text: string }
  /** A message was not sent: its text goes back into the input. */
  | { type: "restore"; text: string }
  | { type: "note"; text: string }
  | { type: "chips"; chips: Chip[] }
  /** A chip was removed: the word in the text mentions no file any more. */
  | { type: "unmention"; mention: string }
  | { type: "history"; conversations: ConversationSummary[] }
  | { type: "commands"; commands: { name: string; description: string }[] }
  | ({ type: "model" } & ChatModel)
  /** `loading`: the progress of an engine that loads its model. */
  | { type: "server"; isRunning: boolean; message: string; loading: string }
  /** `run` is null if nothing was run, because of `problem` or because it was stopped. */
  | ({ type: "ran"; run: CodeRun | null; problem: string } & BlockOfAnswer)
  | { type: "focus" }
  | { type: "insertText"; text: string };
