// What the chat's webview and the extension say to each other.
import type { Chip, Conversation, Summary, Turn } from "../protocol";

export type FromWebview =
  | { type: "ready" }
  | { type: "send"; text: string }
  | { type: "edit"; turn: string; text: string }
  | { type: "retry" | "stop" | "new" | "history" | "attachSelection" | "export" }
  /** `typed` says that an @ was to be written, which is written after all if no file is chosen. */
  | { type: "attachFile"; typed: boolean }
  | { type: "open" | "delete"; conversation: string }
  | { type: "detach"; index: number }
  | { type: "copy" | "insert" | "apply"; code: string };

export type ToWebview =
  | { type: "conversation"; conversation: Conversation | null }
  | { type: "asked"; turn: Turn }
  | { type: "piece"; text: string }
  | { type: "answered"; turn: Turn; leftOut: number }
  | { type: "failed"; message: string }
  | { type: "chips"; chips: Chip[] }
  | { type: "history"; conversations: Summary[] }
  | { type: "commands"; commands: { name: string; description: string }[] }
  | { type: "focus" }
  | { type: "typed"; text: string };
