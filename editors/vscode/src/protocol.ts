// What goes over the wire beside LSP; docs/chat.md tells it.
import { NotificationType, ProgressType, RequestType } from "vscode-languageclient/node";
import type { WorkspaceEdit } from "vscode-languageserver-protocol";

export interface ServerStatus {
  state: "starting" | "ready" | "busy" | "error" | "disabled";
  message: string;
  model: string;
  device: string;
  demo: boolean;
  /** Where the last key's suggestion came from, or why there was none. */
  why: string;
  suggested: boolean;
  /** Seconds since 1970; 0 before any suggestion. */
  lastAt: number;
  lastMs: number;
  /** 0 while it is not known. */
  tokensPerSecond: number;
}

export const NO_STATUS: ServerStatus = {
  state: "starting",
  message: "",
  model: "",
  device: "",
  demo: false,
  why: "",
  suggested: false,
  lastAt: 0,
  lastMs: 0,
  tokensPerSecond: 0,
};

export interface Range {
  start: { line: number; character: number };
  end: { line: number; character: number };
}

export interface Attachment {
  kind: "selection" | "file" | "diagnostics" | "terminal";
  uri?: string;
  range?: Range;
  text?: string;
  label?: string;
}

export interface Chip {
  kind: string;
  label: string;
  language: string;
  tokens: number;
}

export interface Turn {
  id: string;
  role: "user" | "assistant" | "system";
  content: string;
  attachments: { label: string }[];
  state: "whole" | "stopped" | "cut off" | "failed";
}

export interface Conversation {
  id: string;
  title: string;
  turns: Turn[];
}

export interface Summary {
  id: string;
  title: string;
  changed: number;
}

export interface Reply {
  turn: Turn;
  leftOut: number;
}

export type TaskName = "tests" | "explain" | "document" | "fix" | "edit";

export interface TaskParams {
  task: TaskName;
  uri: string;
  range: Range;
  instruction?: string;
  problems?: string[];
  partialResultToken?: string;
}

export interface TaskAnswer {
  title: string;
  note: string;
  edit: WorkspaceEdit | null;
}

interface Streamed {
  conversation: string;
  partialResultToken: string;
}

interface One {
  conversation: string;
}

type Nothing = Record<string, never>;

export const status = new NotificationType<ServerStatus>("starcoder/status");
/** A piece of what a task is writing; each attempt begins anew. */
export const draft = new ProgressType<{ text: string; begins: boolean }>();
export const piece = new ProgressType<{ text: string }>();
export const create = new RequestType<Nothing, { id: string }, void>("starcoder/chat/create");
export const list = new RequestType<Nothing, Summary[], void>("starcoder/chat/list");
export const get = new RequestType<One, Conversation, void>("starcoder/chat/get");
export const send = new RequestType<
  Streamed & { text: string; attachments: Attachment[] },
  Reply,
  void
>("starcoder/chat/send");
export const retry = new RequestType<Streamed, Reply, void>("starcoder/chat/retry");
export const edit = new RequestType<Streamed & { turn: string; text: string }, Reply, void>(
  "starcoder/chat/edit",
);
export const stop = new RequestType<One, null, void>("starcoder/chat/stop");
export const remove = new RequestType<One, null, void>("starcoder/chat/delete");
export const exported = new RequestType<One, { markdown: string }, void>("starcoder/chat/export");
export const attach = new RequestType<{ attachments: Attachment[] }, Chip[], void>(
  "starcoder/chat/attach",
);
export const commands = new RequestType<Nothing, { name: string; description: string }[], void>(
  "starcoder/chat/commands",
);
export const task = new RequestType<TaskParams, TaskAnswer, void>("starcoder/task");
export const commitMessage = new RequestType<{ uri?: string }, { message: string }, void>(
  "starcoder/commitMessage",
);
