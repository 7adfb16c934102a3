// The chat in the side bar. The conversation lives in the server; this carries words to and fro.
import * as vscode from "vscode";
import type { Client } from "../client";
import * as protocol from "../protocol";
import { Attachments } from "./attachments";
import type { FromWebview, ToWebview } from "./messages";
import { page } from "./page";
import { putCode } from "./putCode";

const REMEMBERED = "starcoder.conversation";

export class ChatView implements vscode.WebviewViewProvider {
  private view: vscode.WebviewView | undefined;
  private readonly attachments: Attachments;
  /** Whether the page has said that it listens; what it was told before is lost. */
  private listens = false;
  private wantsFocus = false;
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
      localResourceRoots: ["dist", "media"].map((one) => vscode.Uri.joinPath(extensionUri, one)),
    };
    view.webview.html = page(view.webview, extensionUri);
    view.webview.onDidReceiveMessage((message: FromWebview) => this.received(message));
    view.onDidDispose(() => {
      this.view = undefined;
      this.listens = false;
    });
  }

  async askAboutSelection(): Promise<void> {
    await vscode.commands.executeCommand("starcoder.chat.focus");
    await this.attachments.addSelection(this.editor);
    this.focus();
  }

  async newConversation(): Promise<void> {
    await this.remember(undefined);
    this.attachments.take();
    this.post({ type: "conversation", conversation: null });
    this.focus();
  }

  /** The editor that is meant; a click into the chat takes the focus away from it. */
  private get editor(): vscode.TextEditor | undefined {
    return vscode.window.activeTextEditor ?? this.lastEditor;
  }

  private get conversation(): string | undefined {
    return this.context.workspaceState.get<string>(REMEMBERED);
  }

  private remember(conversation: string | undefined): Thenable<void> {
    return this.context.workspaceState.update(REMEMBERED, conversation);
  }

  private post(message: ToWebview): void {
    void this.view?.webview.postMessage(message);
  }

  private async received(message: FromWebview): Promise<void> {
    try {
      await this.act(message);
    } catch (error) {
      this.post({
        type: "failed",
        message: error instanceof Error ? error.message : String(error),
      });
    }
  }

  private async act(message: FromWebview): Promise<void> {
    switch (message.type) {
      case "ready":
        return this.showWhatIsThere();
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
          this.post({ type: "typed", text: "@" });
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
    this.wantsFocus = !this.listens;
    this.post({ type: "focus" });
  }

  private async showWhatIsThere(): Promise<void> {
    this.listens = true;
    const commands = await this.client.running.sendRequest(protocol.commands, {});
    this.post({ type: "commands", commands });
    if (this.wantsFocus) {
      this.focus();
    }
    if (this.conversation !== undefined) {
      await this.open(this.conversation).catch(() => this.remember(undefined));
    }
    await this.attachments.show();
  }

  private async open(conversation: string): Promise<void> {
    const found = await this.client.running.sendRequest(protocol.get, { conversation });
    await this.remember(conversation);
    this.post({ type: "conversation", conversation: found });
  }

  private async send(text: string): Promise<void> {
    const running = this.client.running;
    const conversation = this.conversation ?? (await running.sendRequest(protocol.create, {})).id;
    await this.remember(conversation);
    const { chips, attachments } = await this.attachments.taken();
    const turn: protocol.Turn = {
      id: "",
      role: "user",
      content: text,
      attachments: chips,
      state: "whole",
    };
    this.post({ type: "asked", turn });
    await this.streamed((partialResultToken) =>
      running.sendRequest(protocol.send, { conversation, text, attachments, partialResultToken }),
    );
    // The turns have ids of the server's now, by which they can be edited.
    await this.open(conversation);
  }

  private async edit(turn: string, text: string): Promise<void> {
    const conversation = this.conversation;
    if (conversation === undefined) {
      return;
    }
    const running = this.client.running;
    const before = await running.sendRequest(protocol.get, { conversation });
    const at = before.turns.findIndex((one) => one.id === turn);
    const kept = { ...before, turns: before.turns.slice(0, Math.max(0, at)) };
    this.post({ type: "conversation", conversation: kept });
    const asked = before.turns[at];
    if (asked !== undefined) {
      this.post({ type: "asked", turn: { ...asked, content: text } });
    }
    await this.streamed((partialResultToken) =>
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
    const last = before.turns.findLastIndex((one) => one.role === "user");
    const turns = before.turns.slice(0, last + 1);
    this.post({ type: "conversation", conversation: { ...before, turns } });
    await this.streamed((partialResultToken) =>
      running.sendRequest(protocol.retry, { conversation, partialResultToken }),
    );
  }

  private async streamed(ask: (token: string) => Promise<protocol.Reply>): Promise<void> {
    const token = `starcoder-chat-${crypto.randomUUID()}`;
    const listening = this.client.running.onProgress(protocol.piece, token, ({ text }) =>
      this.post({ type: "piece", text }),
    );
    try {
      const reply = await ask(token);
      this.post({ type: "answered", turn: reply.turn, leftOut: reply.leftOut });
    } finally {
      listening.dispose();
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
      const asked = { conversation: this.conversation };
      const { markdown } = await this.client.running.sendRequest(protocol.exported, asked);
      const document = { content: markdown, language: "markdown" };
      await vscode.window.showTextDocument(await vscode.workspace.openTextDocument(document));
    }
  }
}
