// The chat view in the side bar. The server stores the conversations; this view sends and shows them.
import * as vscode from "vscode";
import type { Client } from "../client";
import * as protocol from "../protocol";
import { Attachments } from "./attachments";
import type { FromWebview, ToWebview } from "./messages";
import { page } from "./page";
import { putCode } from "./putCode";

/** Key of the workspace state under which the id of the open conversation is stored. */
const CONVERSATION_KEY = "starcoder.conversation";

/** Connects the chat's webview to the server. */
export class ChatView implements vscode.WebviewViewProvider {
  private view: vscode.WebviewView | undefined;
  private readonly attachments: Attachments;
  /** Whether the page is ready. Messages that are posted earlier are lost. */
  private isReady = false;
  private needsFocus = false;
  private lastEditor: vscode.TextEditor | undefined = vscode.window.activeTextEditor;

  constructor(
    private readonly context: vscode.ExtensionContext,
    private readonly client: Client,
  ) {
    this.attachments = new Attachments(client, (chips) => this.post({ type: "chips", chips }));
    context.subscriptions.push(
      vscode.window.onDidChangeActiveTextEditor((editor) => {
        this.lastEditor = editor ?? this.lastEditor;
      }),
    );
  }

  resolveWebviewView(view: vscode.WebviewView): void {
    this.view = view;
    const { extensionUri } = this.context;
    view.webview.options = {
      enableScripts: true,
      localResourceRoots: ["dist", "media"].map((name) => vscode.Uri.joinPath(extensionUri, name)),
    };
    view.webview.html = page(view.webview, extensionUri);
    view.webview.onDidReceiveMessage((message: FromWebview) => this.receive(message));
    view.onDidDispose(() => {
      this.view = undefined;
      this.isReady = false;
    });
  }

  async askAboutSelection(): Promise<void> {
    await vscode.commands.executeCommand("starcoder.chat.focus");
    await this.attachments.addSelection(this.editor);
    this.focus();
  }

  async newConversation(): Promise<void> {
    await this.storeConversation(undefined);
    this.attachments.take();
    this.post({ type: "conversation", conversation: null });
    this.focus();
  }

  /** The editor to act on: the last active one, because a click into the chat deactivates it. */
  private get editor(): vscode.TextEditor | undefined {
    return vscode.window.activeTextEditor ?? this.lastEditor;
  }

  /** The id of the open conversation. */
  private get conversation(): string | undefined {
    return this.context.workspaceState.get<string>(CONVERSATION_KEY);
  }

  private storeConversation(conversation: string | undefined): Thenable<void> {
    return this.context.workspaceState.update(CONVERSATION_KEY, conversation);
  }

  private post(message: ToWebview): void {
    void this.view?.webview.postMessage(message);
  }

  private async receive(message: FromWebview): Promise<void> {
    try {
      await this.handle(message);
    } catch (error) {
      this.post({
        type: "failed",
        message: error instanceof Error ? error.message : String(error),
      });
    }
  }

  private async handle(message: FromWebview): Promise<void> {
    switch (message.type) {
      case "ready":
        return this.restore();
      case "send":
        return this.send(message.text);
      case "edit":
        return this.edit(message.turn, message.text);
      case "retry":
        return this.retry();
      case "stop":
        return this.stop();
      case "new":
        return this.newConversation();
      case "history":
        return this.showHistory();
      case "open":
        return this.open(message.conversation);
      case "delete":
        return this.delete(message.conversation);
      case "attachSelection":
        return this.attachments.addSelection(this.editor);
      case "attachFile":
        if (!(await this.attachments.addFile()) && message.typed) {
          this.post({ type: "insertText", text: "@" });
        }
        return this.focus();
      case "detach":
        return this.attachments.remove(message.index);
      case "export":
        return this.export();
      case "copy":
        return vscode.env.clipboard.writeText(message.code);
      case "insert":
        return putCode(this.editor, message.code, false);
      case "apply":
        return putCode(this.editor, message.code, true);
    }
  }

  private focus(): void {
    this.needsFocus = !this.isReady;
    this.post({ type: "focus" });
  }

  /** Show the open conversation and its attachments when the page is ready. */
  private async restore(): Promise<void> {
    this.isReady = true;
    const commands = await this.client.running.sendRequest(protocol.commands, {});
    this.post({ type: "commands", commands });
    if (this.needsFocus) {
      this.focus();
    }
    if (this.conversation !== undefined) {
      await this.open(this.conversation).catch(() => this.storeConversation(undefined));
    }
    await this.attachments.show();
  }

  private async open(conversation: string): Promise<void> {
    const stored = await this.client.running.sendRequest(protocol.get, { conversation });
    await this.storeConversation(conversation);
    this.post({ type: "conversation", conversation: stored });
  }

  private async send(text: string): Promise<void> {
    const running = this.client.running;
    const conversation = this.conversation ?? (await running.sendRequest(protocol.create, {})).id;
    await this.storeConversation(conversation);
    const { chips, attachments } = await this.attachments.takeWithChips();
    const turn: protocol.Turn = {
      id: "",
      role: "user",
      content: text,
      attachments: chips,
      state: "whole",
    };
    this.post({ type: "question", turn });
    await this.stream((partialResultToken) =>
      running.sendRequest(protocol.send, { conversation, text, attachments, partialResultToken }),
    );
    // The server has assigned ids to the new messages, which are needed to edit them.
    await this.open(conversation);
  }

  private async edit(turn: string, text: string): Promise<void> {
    const conversation = this.conversation;
    if (conversation === undefined) {
      return;
    }
    const running = this.client.running;
    const before = await running.sendRequest(protocol.get, { conversation });
    const index = before.turns.findIndex(({ id }) => id === turn);
    const turns = before.turns.slice(0, Math.max(0, index));
    this.post({ type: "conversation", conversation: { ...before, turns } });
    const question = before.turns[index];
    if (question !== undefined) {
      this.post({ type: "question", turn: { ...question, content: text } });
    }
    await this.stream((partialResultToken) =>
      running.sendRequest(protocol.edit, { conversation, turn, text, partialResultToken }),
    );
    await this.open(conversation);
  }

  private async retry(): Promise<void> {
    const conversation = this.conversation;
    if (conversation === undefined) {
      return;
    }
    const running = this.client.running;
    const before = await running.sendRequest(protocol.get, { conversation });
    const last = before.turns.findLastIndex(({ role }) => role === "user");
    const turns = before.turns.slice(0, last + 1);
    this.post({ type: "conversation", conversation: { ...before, turns } });
    await this.stream((partialResultToken) =>
      running.sendRequest(protocol.retry, { conversation, partialResultToken }),
    );
  }

  private async stream(request: (token: string) => Promise<protocol.Reply>): Promise<void> {
    const token = `starcoder-chat-${crypto.randomUUID()}`;
    const listener = this.client.running.onProgress(protocol.chatChunk, token, ({ text }) =>
      this.post({ type: "chunk", text }),
    );
    try {
      const reply = await request(token);
      this.post({ type: "answer", turn: reply.turn, leftOut: reply.leftOut });
    } finally {
      listener.dispose();
    }
  }

  private async stop(): Promise<void> {
    if (this.conversation !== undefined) {
      await this.client.running.sendRequest(protocol.stop, { conversation: this.conversation });
    }
  }

  private async showHistory(): Promise<void> {
    const conversations = await this.client.running.sendRequest(protocol.list, {});
    this.post({ type: "history", conversations });
  }

  private async delete(conversation: string): Promise<void> {
    await this.client.running.sendRequest(protocol.remove, { conversation });
    if (conversation === this.conversation) {
      await this.newConversation();
    }
    await this.showHistory();
  }

  private async export(): Promise<void> {
    if (this.conversation !== undefined) {
      const params = { conversation: this.conversation };
      const { markdown } = await this.client.running.sendRequest(protocol.exportMarkdown, params);
      const document = { content: markdown, language: "markdown" };
      await vscode.window.showTextDocument(await vscode.workspace.openTextDocument(document));
    }
  }
}
