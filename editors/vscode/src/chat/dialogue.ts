// The open conversation. The server stores it; this class sends messages and shows what is there,
// also while the server or the engine ends. It never loses a message that the user wrote.
import type * as vscode from "vscode";
import type { Client } from "../client";
import * as protocol from "../protocol";
import type { Attachments } from "./attachments";
import type { ToWebview } from "./messages";

/** Key of the workspace state under which the id of the open conversation is stored. */
const CONVERSATION_KEY = "starcoder.conversation";

/** The code of errors that blame the request (JSON-RPC 2.0). */
const INVALID_PARAMS = -32602;

interface RunningAnswer {
  /** The turns before the answer, or up to the answer that is continued. */
  turns: protocol.Turn[];
  text: string;
  continues: boolean;
}

/** A message whose request has failed, and of which the server has not said whether it is stored. */
interface Unconfirmed {
  conversation: string;
  draft: protocol.Draft;
  known: Set<string>;
}

type Request = (token: string) => Promise<protocol.Reply>;

export class Dialogue {
  /** The answers that are being generated, by conversation; only that of the open one is shown. */
  private readonly running = new Map<string, RunningAnswer>();
  private turns: protocol.Turn[] = [];
  private unconfirmed: Unconfirmed | undefined;
  private isSending = false;
  private mustStop = false;

  constructor(
    private readonly state: vscode.Memento,
    private readonly client: Client,
    private readonly attachments: Attachments,
    private readonly post: (message: ToWebview) => void,
    private readonly onAnswer: () => void,
  ) {}

  /** The id of the open conversation, undefined if it is a new one. */
  get id(): string | undefined {
    return this.state.get<string>(CONVERSATION_KEY);
  }

  /** Show the open conversation. */
  show(): void {
    const answer = this.id === undefined ? undefined : this.running.get(this.id);
    this.post({
      type: "conversation",
      turns: answer?.turns ?? this.turns,
      partial: answer?.text ?? null,
      continues: answer?.continues ?? false,
    });
  }

  async startNew(): Promise<void> {
    await this.state.update(CONVERSATION_KEY, undefined);
    this.turns = [];
    this.show();
  }

  async open(conversation: string): Promise<void> {
    const stored = await this.get(conversation);
    await this.state.update(CONVERSATION_KEY, conversation);
    this.turns = stored.turns;
    this.show();
  }

  /** Show what the server has stored, for example after it has been restarted. */
  async synchronize(): Promise<void> {
    const id = this.id;
    if (id !== undefined && !this.running.has(id)) {
      try {
        await this.open(id);
      } catch (error) {
        if ((error as { code?: number }).code !== INVALID_PARAMS) {
          throw error;
        }
        await this.startNew(); // it was deleted, or the file of conversations is another one
      }
    } else {
      this.show();
    }
    const message = this.unconfirmed;
    this.unconfirmed = undefined;
    if (message !== undefined) {
      const stored = await this.get(message.conversation).catch(() => undefined);
      await this.confirm(message, stored?.turns ?? []);
    }
  }

  async send(text: string): Promise<void> {
    if (this.isSending || (this.id !== undefined && this.running.has(this.id))) {
      this.post({ type: "restore", text });
      throw new Error("The last message is still being answered.");
    }
    this.isSending = true;
    this.mustStop = false;
    try {
      const { running } = this.client;
      const conversation = this.id ?? (await running.sendRequest(protocol.create, {})).id;
      await this.state.update(CONVERSATION_KEY, conversation);
      if (this.mustStop) {
        throw new Error("Stopped before the message was sent.");
      }
      const { draft, chips } = await this.attachments.take(text);
      this.isSending = false;
      await this.sendDraft(conversation, draft, chips);
    } catch (error) {
      if (this.isSending) {
        this.post({ type: "restore", text });
      }
      throw error;
    } finally {
      this.isSending = false;
    }
  }

  /** Answer the last message, in place of its previous answer. */
  async retry(): Promise<void> {
    const last = this.turns.findLastIndex(({ role }) => role === "user");
    await this.again(protocol.retry, this.turns.slice(0, last + 1), false);
  }

  /** Continue the last answer where it ends. */
  async continueAnswer(): Promise<void> {
    await this.again(protocol.continueAnswer, this.turns, true);
  }

  async edit(turn: string, text: string): Promise<void> {
    const conversation = this.id;
    const index = this.turns.findIndex(({ id }) => id === turn);
    const question = this.turns[index];
    if (conversation === undefined || question === undefined || this.running.has(conversation)) {
      return this.show();
    }
    const { running } = this.client;
    const turns = [...this.turns.slice(0, index), { ...question, content: text }];
    const draft = { text, attachments: [] };
    await this.ask(conversation, turns, draft, (partialResultToken) =>
      running.sendRequest(protocol.edit, { conversation, turn, text, partialResultToken }),
    );
  }

  async stop(): Promise<void> {
    this.mustStop = true;
    if (this.id !== undefined && this.running.has(this.id)) {
      await this.client.running.sendRequest(protocol.stop, { conversation: this.id });
    }
  }

  private get(conversation: string): Promise<protocol.Conversation> {
    return this.client.running.sendRequest(protocol.get, { conversation });
  }

  private async sendDraft(
    conversation: string,
    draft: protocol.Draft,
    chips: protocol.Chip[],
  ): Promise<void> {
    const { running } = this.client;
    const question: protocol.Turn = {
      id: "",
      role: "user",
      content: draft.text,
      attachments: chips,
      state: "whole",
      model: "",
    };
    await this.ask(conversation, [...this.turns, question], draft, (partialResultToken) =>
      running.sendRequest(protocol.send, { conversation, ...draft, partialResultToken }),
    );
  }

  private async again(
    request: typeof protocol.retry,
    turns: protocol.Turn[],
    continues: boolean,
  ): Promise<void> {
    const conversation = this.id;
    if (conversation === undefined || turns.length === 0 || this.running.has(conversation)) {
      return this.show();
    }
    const { running } = this.client;
    const send: Request = (partialResultToken) =>
      running.sendRequest(request, { conversation, partialResultToken });
    await this.ask(conversation, turns, undefined, send, continues);
  }

  /** Show an answer while it is generated, and then what the server has stored. */
  private async ask(
    conversation: string,
    turns: protocol.Turn[],
    draft: protocol.Draft | undefined,
    request: Request,
    continues = false,
  ): Promise<void> {
    const known = new Set(this.turns.map(({ id }) => id));
    const answer: RunningAnswer = { turns, text: "", continues };
    this.running.set(conversation, answer);
    this.show();
    let failure: unknown;
    let note = "";
    try {
      note = noteOf(await this.stream(conversation, answer, request));
    } catch (error) {
      failure = error;
    } finally {
      this.running.delete(conversation);
    }
    this.onAnswer();
    const stored = await this.get(conversation).catch(() => undefined);
    if (conversation === this.id) {
      this.turns = stored?.turns ?? brokenOff(answer);
      this.show();
      this.post({ type: "note", text: note });
    }
    if (failure !== undefined) {
      if (draft !== undefined) {
        await this.confirm({ conversation, draft, known }, stored?.turns);
      }
      throw failure;
    }
  }

  private async stream(
    conversation: string,
    answer: RunningAnswer,
    request: Request,
  ): Promise<protocol.Reply> {
    const token = `starcoder-chat-${crypto.randomUUID()}`;
    const listener = this.client.running.onProgress(protocol.chatChunk, token, ({ text }) => {
      answer.text += text;
      if (conversation === this.id) {
        this.post({ type: "chunk", text });
      }
    });
    try {
      return await request(token);
    } finally {
      listener.dispose();
    }
  }

  /** Put a failed message back into the input, unless it is stored. Wait if that is not known. */
  private async confirm(message: Unconfirmed, turns: protocol.Turn[] | undefined): Promise<void> {
    if (turns === undefined) {
      this.unconfirmed = message;
      return;
    }
    const { draft, known } = message;
    const isStored = turns.some(({ id, content }) => content === draft.text && !known.has(id));
    if (!isStored) {
      this.post({ type: "restore", text: draft.text });
      await this.attachments.restore(draft.attachments);
    }
  }
}

function noteOf({ turn, leftOut }: protocol.Reply): string {
  if (turn.state === "stopped" && turn.content === "") {
    return "Stopped before the first word.";
  }
  return leftOut > 0 ? `${leftOut} earlier messages did not fit and were left out.` : "";
}

/** Return the turns with the part of an answer that arrived before its server ended. */
function brokenOff({ turns, text, continues }: RunningAnswer): protocol.Turn[] {
  const last = turns.at(-1);
  if (continues && last !== undefined) {
    return [...turns.slice(0, -1), { ...last, content: last.content + text, state: "failed" }];
  }
  const partial = { attachments: [], state: "failed" as const, model: "" };
  const answer: protocol.Turn = { id: "", role: "assistant", content: text, ...partial };
  return text === "" ? turns : [...turns, answer];
}
