// Tasks on the code at the cursor. The server proposes edits, and the user reviews them first.
import * as vscode from "vscode";
import type { Answer, Answers } from "./answers";
import type { Client } from "./client";
import { withoutLinks } from "./notices";
import type { Previews } from "./preview";
import * as protocol from "./protocol";

const PROGRESS_TEXT: Record<protocol.TaskName, string> = {
  tests: "writing tests",
  explain: "explaining",
  document: "documenting",
  fix: "fixing",
  edit: "editing",
};

/** The command that the server's code actions name, and its argument. */
export const TASK_COMMAND = "starcoder.task";
export type TaskArgument = Pick<protocol.TaskParams, "task" | "uri" | "range" | "problems">;

/** Runs tasks. They show errors and change nothing without the user's consent. */
export class Tasks {
  constructor(
    private readonly client: Client,
    private readonly previews: Previews,
    private readonly answers: Answers,
  ) {}

  /** Run a task on the selection, or on the function at the cursor. */
  async runAtCursor(task: protocol.TaskName): Promise<void> {
    const editor = vscode.window.activeTextEditor;
    if (editor === undefined) {
      void vscode.window.showInformationMessage("Open a file first.");
      return;
    }
    let instruction = "";
    if (task === "edit") {
      const input = await vscode.window.showInputBox({ prompt: "What should be changed?" });
      if (input === undefined || input.trim() === "") {
        return;
      }
      instruction = input;
    }
    const { document, selection } = editor;
    await this.run(document, {
      task,
      uri: document.uri.toString(),
      range: { start: selection.start, end: selection.end },
      instruction,
      problems: problemsAt(document.uri, selection),
    });
  }

  /** Run the task of a code action. */
  async runRequested(argument: TaskArgument): Promise<void> {
    const uri = vscode.Uri.parse(argument.uri, true);
    await this.run(await vscode.workspace.openTextDocument(uri), { ...argument, instruction: "" });
  }

  private async run(document: vscode.TextDocument, params: protocol.TaskParams): Promise<void> {
    const title = `StarCoder: ${PROGRESS_TEXT[params.task]}`;
    const isAnswer = params.task === "explain";
    const name = document.uri.path.split("/").at(-1) ?? "";
    const answer = this.answers.begin(isAnswer ? `Explanation (${name})` : title);
    const base = { uri: document.uri, text: document.getText() };
    const result = await withProgress(title, (token) => this.stream(params, answer, token));
    if (result?.edit) {
      await answer.close();
      const edit = await this.client.running.protocol2CodeConverter.asWorkspaceEdit(result.edit);
      await this.previews.offer(edit, [result.title, result.note].filter(Boolean).join(". "), base);
    } else if (result?.note) {
      answer.show(result.note);
    } else {
      await answer.close();
    }
  }

  /** Send a task to the server and show its partial answer until the result arrives. */
  private async stream(
    params: protocol.TaskParams,
    answer: Answer,
    token: vscode.CancellationToken,
  ): Promise<protocol.TaskResult> {
    const { running } = this.client;
    const partialResultToken = `starcoder-task-${crypto.randomUUID()}`;
    const listener = running.onProgress(
      protocol.taskChunk,
      partialResultToken,
      ({ text, begins }) => answer.append(text, begins),
    );
    try {
      return await running.sendRequest(protocol.task, { ...params, partialResultToken }, token);
    } finally {
      listener.dispose();
    }
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
        const message = error instanceof Error ? error.message : String(error);
        void vscode.window.showWarningMessage(withoutLinks(message));
      }
      return undefined;
    }
  });
}
