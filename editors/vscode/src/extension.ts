// Entry point of the extension. It only connects VS Code to the server, which holds all state.
import * as vscode from "vscode";
import { Answers } from "./answers";
import { ChatView } from "./chat/view";
import { chooseModel } from "./chooseModel";
import { Client, workspaceSchemes } from "./client";
import { forgetConsent } from "./consent";
import { sendDiagnostics } from "./diagnostics";
import { virtualNotice } from "./documents";
import { showEngines } from "./engines";
import { Previews } from "./preview";
import type { TaskName } from "./protocol";
import { chooseProgram, distFolder, install } from "./setup";
import { menu, showStatus } from "./statusBar";
import { TASK_COMMAND, type TaskArgument, Tasks, writeCommitMessage } from "./tasks";

const TASK_NAMES: TaskName[] = [
  "tests",
  "explain",
  "document",
  "fix",
  "edit",
  "translate",
  "review",
];

export async function activate(context: vscode.ExtensionContext): Promise<void> {
  const client: Client = new Client(distFolder(context), {
    [TASK_COMMAND]: (argument) => tasks.runRequested(argument as TaskArgument),
  });
  const chat = new ChatView(context, client);
  const previews = new Previews();
  const answers = new Answers();
  const tasks: Tasks = new Tasks(client, previews, answers);
  const command = (name: string, act: (...args: never[]) => unknown) =>
    vscode.commands.registerCommand(`starcoder.${name}`, act);
  context.subscriptions.push(
    client,
    previews,
    answers,
    showStatus(client),
    sendDiagnostics(client),
    vscode.window.registerWebviewViewProvider("starcoder.chat", chat, {
      webviewOptions: { retainContextWhenHidden: true },
    }),
    command("menu", () => menu(client)),
    command("chooseModel", () => chooseModel(client, "model")),
    command("chooseChatModel", () => chooseModel(client, "chatModel")),
    command("engines", () => showEngines(client)),
    command("restart", () => client.start()),
    command("showLog", () => client.log.show()),
    command("install", () => install(context)),
    command("chooseProgram", () => chooseProgram()),
    command("ask", () => chat.askAboutSelection()),
    command("newChat", () => chat.newConversation()),
    command("commitMessage", () => writeCommitMessage(client)),
    command("askAgain", () => forgetConsent(client)),
    ...TASK_NAMES.map((name) => command(`run.${name}`, () => tasks.runAtCursor(name))),
    vscode.workspace.onDidChangeConfiguration((change) => {
      if (change.affectsConfiguration("starcoder.serverCommand")) {
        void client.start();
      }
    }),
    vscode.workspace.onDidGrantWorkspaceTrust(() => client.start()),
  );
  const notice = virtualNotice(workspaceSchemes());
  if (notice !== undefined) {
    void vscode.window.showInformationMessage(notice);
  }
  await client.start();
}

export function deactivate(): void {}
