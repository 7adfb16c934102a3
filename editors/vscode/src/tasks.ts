// Tasks on the code under the cursor: asked of the server, shown before anything is changed.
import * as vscode from "vscode";
import type { Client } from "./client";
import type { Drafts } from "./draft";
import type { Previews } from "./preview";
import * as protocol from "./protocol";

const DOING: Record<protocol.TaskName, string> = {
  tests: "writing tests",
  explain: "explaining",
  document: "documenting",
  fix: "fixing",
  edit: "editing",
};

/** Do a task where the cursor is; errors are shown, nothing is changed without a yes. */
export async function runTask(
  client: Client,
  previews: Previews,
  drafts: Drafts,
  name: protocol.TaskName,
): Promise<void> {
  const editor = vscode.window.activeTextEditor;
  if (editor === undefined) {
    void vscode.window.showInformationMessage("Open a file first.");
    return;
  }
  let instruction = "";
  if (name === "edit") {
    const said = await vscode.window.showInputBox({ prompt: "What is to be changed?" });
    if (said === undefined || said.trim() === "") {
      return;
    }
    instruction = said;
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
  const title = `StarCoder: ${DOING[name]}`;
  const answer = await asked(title, (token) => drafted(client, drafts, params, title, token));
  if (answer === undefined) {
    return;
  }
  if (answer.edit !== null) {
    const edit = await client.running.protocol2CodeConverter.asWorkspaceEdit(answer.edit);
    await previews.offer(edit, answer.title);
  } else if (answer.note !== "") {
    const page = await vscode.workspace.openTextDocument({
      content: answer.note,
      language: "markdown",
    });
    await vscode.window.showTextDocument(page, vscode.ViewColumn.Beside, true);
  }
}

/** Ask for a task, showing what is written until it is answered. */
async function drafted(
  client: Client,
  drafts: Drafts,
  params: protocol.TaskParams,
  title: string,
  token: vscode.CancellationToken,
): Promise<protocol.TaskAnswer> {
  const { running } = client;
  const listening = running.onProgress(
    protocol.draft,
    params.partialResultToken ?? "",
    ({ text, begins }) => drafts.add(text, begins, title),
  );
  try {
    return await running.sendRequest(protocol.task, params, token);
  } finally {
    listening.dispose();
    await drafts.close();
  }
}

function problemsAt(uri: vscode.Uri, range: vscode.Range): string[] {
  const here = vscode.languages.getDiagnostics(uri).filter((one) => {
    const lines = new vscode.Range(one.range.start.line, 0, one.range.end.line + 1, 0);
    return lines.intersection(range) !== undefined;
  });
  return here.map((one) => one.message);
}

/** Put a message for what is staged into the source control view. */
export async function writeCommitMessage(client: Client): Promise<void> {
  const git = vscode.extensions.getExtension("vscode.git");
  const api = (await git?.activate())?.getAPI(1);
  const repository = api?.repositories[0];
  if (repository === undefined) {
    void vscode.window.showInformationMessage("There is no git repository in this workspace.");
    return;
  }
  const uri = repository.rootUri.toString();
  const answer = await asked("StarCoder: writing a commit message", (token) =>
    client.running.sendRequest(protocol.commitMessage, { uri }, token),
  );
  if (answer !== undefined) {
    repository.inputBox.value = answer.message;
  }
}

/** Await an answer with progress that can be cancelled; undefined if it was, or failed. */
async function asked<T>(
  title: string,
  ask: (token: vscode.CancellationToken) => Promise<T>,
): Promise<T | undefined> {
  const options = { location: vscode.ProgressLocation.Notification, title, cancellable: true };
  return vscode.window.withProgress(options, async (_, token) => {
    try {
      return await ask(token);
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
