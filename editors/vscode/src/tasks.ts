// Tasks on the code at the cursor. The server proposes edits, and the user reviews them first.
import * as vscode from "vscode";
import type { Client } from "./client";
import type { PartialAnswer } from "./partialAnswer";
import type { Previews } from "./preview";
import * as protocol from "./protocol";

const PROGRESS_TEXT: Record<protocol.TaskName, string> = {
  tests: "writing tests",
  explain: "explaining",
  document: "documenting",
  fix: "fixing",
  edit: "editing",
};

/** Run a task at the cursor. It shows errors and changes nothing without the user's consent. */
export async function runTask(
  client: Client,
  previews: Previews,
  partialAnswer: PartialAnswer,
  name: protocol.TaskName,
): Promise<void> {
  const editor = vscode.window.activeTextEditor;
  if (editor === undefined) {
    void vscode.window.showInformationMessage("Open a file first.");
    return;
  }
  let instruction = "";
  if (name === "edit") {
    const input = await vscode.window.showInputBox({ prompt: "What should be changed?" });
    if (input === undefined || input.trim() === "") {
      return;
    }
    instruction = input;
  }
  const { document, selection } = editor;
  const params: protocol.TaskParams = {
    task: name,
    uri: document.uri.toString(),
    range: { start: selection.start, end: selection.end },
    instruction,
    problems: problemsAt(document.uri, selection),
    partialResultToken: `starcoder-task-${crypto.randomUUID()}`,
  };
  const title = `StarCoder: ${PROGRESS_TEXT[name]}`;
  const result = await withProgress(title, (token) =>
    streamTask(client, partialAnswer, params, title, token),
  );
  if (result === undefined) {
    return;
  }
  if (result.edit !== null) {
    const edit = await client.running.protocol2CodeConverter.asWorkspaceEdit(result.edit);
    await previews.offer(edit, result.title);
  } else if (result.note !== "") {
    const page = await vscode.workspace.openTextDocument({
      content: result.note,
      language: "markdown",
    });
    await vscode.window.showTextDocument(page, vscode.ViewColumn.Beside, true);
  }
}

/** Send a task to the server and show its partial answer until the result arrives. */
async function streamTask(
  client: Client,
  partialAnswer: PartialAnswer,
  params: protocol.TaskParams,
  title: string,
  token: vscode.CancellationToken,
): Promise<protocol.TaskResult> {
  const { running } = client;
  const listener = running.onProgress(
    protocol.taskChunk,
    params.partialResultToken ?? "",
    ({ text, begins }) => partialAnswer.append(text, begins, title),
  );
  try {
    return await running.sendRequest(protocol.task, params, token);
  } finally {
    listener.dispose();
    await partialAnswer.close();
  }
}

function problemsAt(uri: vscode.Uri, range: vscode.Range): string[] {
  const diagnostics = vscode.languages.getDiagnostics(uri).filter((diagnostic) => {
    const { start, end } = diagnostic.range;
    const lines = new vscode.Range(start.line, 0, end.line + 1, 0);
    return lines.intersection(range) !== undefined;
  });
  return diagnostics.map((diagnostic) => diagnostic.message);
}

/** Write a message for the staged changes into the source control view. */
export async function writeCommitMessage(client: Client): Promise<void> {
  if (!vscode.workspace.isTrusted) {
    void vscode.window.showInformationMessage("Trust this workspace so that git may run in it.");
    return;
  }
  const git = vscode.extensions.getExtension("vscode.git");
  const api = (await git?.activate())?.getAPI(1);
  const repository = api?.repositories[0];
  if (repository === undefined) {
    void vscode.window.showInformationMessage("There is no git repository in this workspace.");
    return;
  }
  const uri = repository.rootUri.toString();
  const result = await withProgress("StarCoder: writing a commit message", (token) =>
    client.running.sendRequest(protocol.commitMessage, { uri }, token),
  );
  if (result !== undefined) {
    repository.inputBox.value = result.message;
  }
}

/** Run a request with a cancellable progress notification. Undefined if cancelled or failed. */
async function withProgress<T>(
  title: string,
  request: (token: vscode.CancellationToken) => Promise<T>,
): Promise<T | undefined> {
  const options = { location: vscode.ProgressLocation.Notification, title, cancellable: true };
  return vscode.window.withProgress(options, async (_, token) => {
    try {
      return await request(token);
    } catch (error) {
      if (!token.isCancellationRequested) {
        void vscode.window.showWarningMessage(
          error instanceof Error ? error.message : String(error),
        );
      }
      return undefined;
    }
  });
}
