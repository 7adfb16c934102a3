// The messages between client and server that LSP does not define. docs/chat.md describes them.
import { NotificationType, ProgressType, RequestType } from "vscode-languageclient/node";
import type { WorkspaceEdit } from "vscode-languageserver-protocol";

/** The engine of a model that serves chat alone. */
export interface ChatStatus {
  model: string;
  device: string;
  state: "stopped" | "starting" | "ready" | "error";
  /** The progress of loading, the reason of a failure, or a note on what a server lacks. */
  message: string;
}

export interface ServerStatus {
  state: "starting" | "ready" | "error" | "disabled";
  message: string;
  model: string;
  device: string;
  demo: boolean;
  /** The source of the suggestion at the last key, or the reason why there was none. */
  why: string;
  suggested: boolean;
  /** Unix time of the last suggestion in seconds; 0 before the first suggestion. */
  lastAt: number;
  /** Milliseconds from the request to the last suggestion. */
  lastMs: number;
  /** Decoding speed; 0 while it is unknown. */
  tokensPerSecond: number;
  /** Null if one model serves completions and chat. */
  chat: ChatStatus | null;
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
  chat: null,
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

/** An attachment of the next message as the chat shows it. */
export interface Chip {
  kind: string;
  label: string;
  language: string;
  /** Whether the user attached it, mentions it in the text, or a slash command takes it. */
  source: "attached" | "mentioned" | "cursor";
  /** The word in the text that mentions it. */
  mention: string;
  /** Null while no engine answers. */
  tokens: number | null;
  /** Number of tokens that a message may have. */
  room: number | null;
}

/** The model that answers. */
export interface ChatModel {
  model: string;
  /** Null while its engine is not ready. */
  format: string | null;
  /** A phrase for the user if the model does not know dialogues. */
  hint: string;
}

/** A message of a conversation. */
export interface Turn {
  id: string;
  role: "user" | "assistant" | "system";
  content: string;
  attachments: { label: string }[];
  state: "whole" | "stopped" | "cut off" | "failed";
  /** The model that wrote an answer; empty if it is not known. */
  model: string;
}

export interface Conversation {
  id: string;
  title: string;
  turns: Turn[];
}

/** A conversation in the list of earlier conversations. */
export interface ConversationSummary {
  id: string;
  title: string;
  /** Unix time of the last change in seconds. */
  changed: number;
}

export interface Reply {
  turn: Turn;
  /** Number of earlier messages that did not fit into the context window. */
  leftOut: number;
}

/** What came out of a code block of an answer. */
export interface CodeRun {
  outcome: "passed" | "failed" | "timed out" | "cancelled";
  output: string;
  /** PNG pictures, in base64. */
  figures: string[];
  seconds: number;
}

export type TaskName = "tests" | "explain" | "document" | "fix" | "edit" | "translate" | "review";

export interface TaskParams {
  task: TaskName;
  uri: string;
  range: Range;
  instruction?: string;
  problems?: string[];
  partialResultToken?: string;
}

/** The result of a task: an edit to review, or a note to read. */
export interface TaskResult {
  title: string;
  note: string;
  edit: WorkspaceEdit | null;
}

interface ConversationParams {
  conversation: string;
}

/** A message, and the place in the editor that a slash command may use. */
export interface Draft {
  text: string;
  attachments: Attachment[];
  uri?: string;
  range?: Range;
}

interface StreamParams extends ConversationParams {
  partialResultToken: string;
}

type NoParams = Record<string, never>;

export const status = new NotificationType<ServerStatus>("starcoder/status");
/**
 * A chunk of a task's answer, or what the task does now. The first chunk of each attempt has `begins`
 * set.
 */
export const taskProgress = new ProgressType<
  { text: string; begins: boolean } | { stage: string }
>();
/** A chunk of an answer in the chat. */
export const chatChunk = new ProgressType<{ text: string }>();
/** All diagnostics of an open document, from every source. */
export const diagnostics = new RequestType<
  { uri: string; diagnostics: { range: Range; message: string }[] },
  null,
  void
>("starcoder/diagnostics");
export const create = new RequestType<NoParams, { id: string }, void>("starcoder/chat/create");
export const list = new RequestType<{ query: string }, ConversationSummary[], void>(
  "starcoder/chat/list",
);
export const get = new RequestType<ConversationParams, Conversation, void>("starcoder/chat/get");
export const send = new RequestType<StreamParams & Draft, Reply, void>("starcoder/chat/send");
export const retry = new RequestType<StreamParams, Reply, void>("starcoder/chat/retry");
export const continueAnswer = new RequestType<StreamParams, Reply, void>("starcoder/chat/continue");
export const edit = new RequestType<StreamParams & { turn: string; text: string }, Reply, void>(
  "starcoder/chat/edit",
);
export const stop = new RequestType<ConversationParams, null, void>("starcoder/chat/stop");
export const rename = new RequestType<
  ConversationParams & { title: string },
  { title: string },
  void
>("starcoder/chat/rename");
export const remove = new RequestType<ConversationParams, null, void>("starcoder/chat/delete");
export const exportMarkdown = new RequestType<ConversationParams, { markdown: string }, void>(
  "starcoder/chat/export",
);
export const attach = new RequestType<Draft, Chip[], void>("starcoder/chat/attach");
export const model = new RequestType<NoParams, ChatModel, void>("starcoder/chat/model");
export const commands = new RequestType<NoParams, { name: string; description: string }[], void>(
  "starcoder/chat/commands",
);
/** `text` is the code that the page shows: the server runs nothing else. */
export const runCode = new RequestType<
  ConversationParams & { turn: string; block: number; text: string; uri?: string },
  CodeRun,
  void
>("starcoder/chat/run");
export const task = new RequestType<TaskParams, TaskResult, void>("starcoder/task");
export const commitMessage = new RequestType<{ uri?: string }, { message: string }, void>(
  "starcoder/commitMessage",
);

/** An engine process of the user on this machine. */
export interface RunningEngine {
  pid: number;
  model: string;
  state: "starting" | "loading" | "ready" | "failed" | "silent";
  /** The progress of loading, or the reason of a failure. */
  detail: string;
  device: string;
  memoryBytes: number;
  gpuMemoryBytes: number;
  /** Number of connected editors and commands. */
  clients: number;
  idleSeconds: number;
  /** Whether this window's completions or chats use it. */
  current: boolean;
}
export const engines = new RequestType<NoParams, RunningEngine[], void>("starcoder/engines");
export const stopEngine = new RequestType<{ pid: number }, { stopped: boolean }, void>(
  "starcoder/stopEngine",
);
