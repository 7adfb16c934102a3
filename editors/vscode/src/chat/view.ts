// The chat view in the side bar: connects its page to the server, also when the server is restarted.
import * as vscode from "vscode";
import type { Client } from "../client";
import * as protocol from "../protocol";
import { Attachments } from "./attachments";
import { CodeRunner } from "./codeRunner";
import { Dialogue } from "./dialogue";
import type { FromWebview, ToWebview } from "./messages";
import { page } from "./page";
import { putCode } from "./putCode";

/** Connects the chat's webview to the server. */
export class ChatView implements vscode.WebviewViewProvider {
  private view: vscode.WebviewView | undefined;
  private readonly attachments: Attachments;
  private readonly dialogue: Dialogue;
  private readonly codeRunner: CodeRunner;
  /** Whether the page is ready. Messages that are posted earlier are lost. */
  private isReady = false;
  private needsFocus = false;
  /** Whether the page shows what this server has stored. */
  private isSynchronized = false;
  private lastEditor: vscode.TextEditor | undefined = vscode.window.activeTextEditor;
  /** The models and their states as the page shows them. */
  private shownModels = "";

  constructor(
    private readonly context: vscode.ExtensionContext,
    private readonly client: Client,
  ) {
    this.attachments = new Attachments(
      client,
      () => this.editor,
      (chips) => this.post({ type: "chips", chips }),
    );
    this.dialogue = new Dialogue(
      context.workspaceState,
      client,
      this.attachments,
      (message) => this.post(message),
      () => {
        // The answer may have started an engine, whose model was not known before.
        this.shownModels = "";
        this.update();
      },
    );
    this.codeRunner = new CodeRunner(client, (message) => this.post(message));
    context.subscriptions.push(
      this.attachments,
      this.codeRunner,
      client.onStatus(() => this.update()),
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
    this.attachments.clear();
    await this.dialogue.startNew();
    this.focus();
  }

  /** The editor to act on: the last active one, because a click into the chat deactivates it. */
  private get editor(): vscode.TextEditor | undefined {
    return vscode.window.activeTextEditor ?? this.lastEditor;
  }

  private post(message: ToWebview): void {
    void this.view?.webview.postMessage(message);
  }

  private async receive(message: FromWebview): Promise<void> {
    await this.reporting(() => this.handle(message));
  }

  /** Show the error of an action in the page. */
  private async reporting(act: () => Promise<unknown> | Thenable<unknown>): Promise<void> {
    try {
      await act();
    } catch (error) {
      this.post({ type: "note", text: error instanceof Error ? error.message : String(error) });
    }
  }

  private async handle(message: FromWebview): Promise<unknown> {
    switch (message.type) {
      case "ready":
        return this.showPage();
      case "send":
        return this.dialogue.send(message.text);
      case "edit":
        return this.dialogue.edit(message.turn, message.text);
      case "retry":
        return this.dialogue.retry();
      case "continue":
        return this.dialogue.continueAnswer();
      case "stop":
        return this.dialogue.stop();
      case "new":
        return this.newConversation();
      case "history":
        return this.showHistory(message.query);
      case "open":
        return this.dialogue.open(message.conversation);
      case "rename":
        await this.client.running.sendRequest(protocol.rename, message);
        return this.showHistory(message.query);
      case "delete":
        return this.delete(message.conversation, message.query);
      case "draft":
        return this.attachments.setText(message.text);
      case "attachSelection":
        await this.attachments.addSelection(this.editor);
        return this.focus();
      case "attachFile":
        return this.attachFile(message.typed);
      case "detach":
        return this.detach(message.index);
      case "export":
        return this.export();
      case "start":
        return vscode.commands.executeCommand("starcoder.restart");
      case "chooseModel":
        return vscode.commands.executeCommand("starcoder.chooseChatModel");
      case "copy":
        return vscode.env.clipboard.writeText(message.code);
      case "insert":
        return putCode(this.editor, message.code, false);
      case "apply":
        return putCode(this.editor, message.code, true);
      case "run": {
        const uri = this.editor?.document.uri.toString();
        return this.codeRunner.run(this.dialogue.id, message, message.code, uri);
      }
      case "stopRun":
        return this.codeRunner.stop(message);
    }
  }

  private focus(): void {
    this.needsFocus = !this.isReady;
    this.post({ type: "focus" });
  }

  private async showPage(): Promise<void> {
    this.isReady = true;
    this.isSynchronized = false;
    this.shownModels = "";
    if (this.needsFocus) {
      this.focus();
    }
    this.dialogue.show();
    this.update();
    await this.attachments.show();
  }

  /** Show the state of the server, and what a server that has been started has stored. */
  private update(): void {
    const { isRunning, status } = this.client;
    if (!this.isReady) {
      return;
    }
    const engine = status?.chat ?? status;
    this.post({
      type: "server",
      isRunning,
      message: status?.state === "error" ? status.message : "",
      loading: engine?.state === "starting" ? engine.message : "",
    });
    if (!isRunning) {
      this.isSynchronized = false;
      this.shownModels = "";
      return;
    }
    if (!this.isSynchronized) {
      this.isSynchronized = true;
      void this.reporting(async () => {
        const commands = await this.client.running.sendRequest(protocol.commands, {});
        this.post({ type: "commands", commands });
        await this.dialogue.synchronize();
      });
    }
    const models = [status?.model, status?.state === "ready", status?.chat?.model, engine?.state];
    if (this.shownModels !== JSON.stringify(models)) {
      this.shownModels = JSON.stringify(models);
      void this.reporting(async () => {
        const model = await this.client.running.sendRequest(protocol.model, {});
        this.post({ type: "model", ...model });
        await this.attachments.show();
      });
    }
  }

  private async attachFile(typed: boolean): Promise<void> {
    const file = await this.attachments.chooseFile();
    if (typed) {
      const quoted = file && /[\s"'`<>()]/.test(file.path) ? `"${file.path}"` : file?.path;
      this.post({ type: "insertText", text: file ? `@${quoted} ` : "@" });
    } else if (file !== undefined) {
      await this.attachments.addFile(file.uri);
    }
    this.focus();
  }

  private async detach(index: number): Promise<void> {
    const mention = await this.attachments.remove(index);
    if (mention !== "") {
      this.post({ type: "unmention", mention });
    }
    this.focus();
  }

  private async showHistory(query: string): Promise<void> {
    const conversations = await this.client.running.sendRequest(protocol.list, { query });
    this.post({ type: "history", conversations });
  }

  private async delete(conversation: string, query: string): Promise<void> {
    await this.client.running.sendRequest(protocol.remove, { conversation });
    if (conversation === this.dialogue.id) {
      await this.dialogue.startNew();
    }
    await this.showHistory(query);
  }

  private async export(): Promise<void> {
    if (this.dialogue.id !== undefined) {
      const params = { conversation: this.dialogue.id };
      const { markdown } = await this.client.running.sendRequest(protocol.exportMarkdown, params);
      const document = { content: markdown, language: "markdown" };
      await vscode.window.showTextDocument(await vscode.workspace.openTextDocument(document));
    }
  }
}
