// The messages between the chat's webview and the extension.
import type { Chip, Conversation, ConversationSummary, Turn } from "../protocol";

export type FromWebview =
  | { type: "ready" }
  | { type: "send"; text: string }
  | { type: "edit"; turn: string; text: string }
  | { type: "retry" | "stop" | "new" | "history" | "attachSelection" | "export" }
  /** `typed`: the user typed an `@`, which must be inserted if no file is chosen. */
  | { type: "attachFile"; typed: boolean }
  | { type: "open" | "delete"; conversation: string }
  | { type: "detach"; index: number }
  | { type: "copy" | "insert" | "apply"; code: string };

export type ToWebview =
  | { type: "conversation"; conversation: Conversation | null }
  | { type: "question"; turn: Turn }
  | { type: "chunk"; text: string }
  | { type: "answer"; turn: Turn; leftOut: number }
  | { type: "failed"; message: string }
  | { type: "chips"; chips: Chip[] }
  | { type: "history"; conversations: ConversationSummary[] }
  | { type: "commands"; commands: { name: string; description: string }[] }
  | { type: "focus" }
  | { type: "insertText"; text: string };
