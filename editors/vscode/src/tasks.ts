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
  translate: "translating",
  review: "reviewing",
};

/** The titles of the documents in which tasks that edit nothing show their answers. */
const ANSWER_TITLE: Partial<Record<protocol.TaskName, string>> = {
  explain: "Explanation",
  translate: "Translation",
  review: "Review",
};

const LANGUAGES = [
  "Python",
  "JavaScript",
  "TypeScript",
  "Java",
  "Go",
  "Rust",
  "C",
  "C++",
  "C#",
  "PHP",
  "Ruby",
  "Kotlin",
  "Swift",
  "Lua",
  "Bash",
  "SQL",
];
const OTHER_LANGUAGE = "Another language…";

/** The command that the server's code actions name, and its argument. */
export const TASK_COMMAND = "starcoder.task";
type ShownProgress = vscode.Progress<{ message: string }>;
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
    const instruction = await askForInstruction(task);
    if (instruction === undefined) {
      return;
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
    const answerTitle = ANSWER_TITLE[params.task];
    const name = document.uri.path.split("/").at(-1) ?? "";
    const answer = this.answers.begin(answerTitle ? `${answerTitle} (${name})` : title);
    const base = { uri: document.uri, text: document.getText() };
    const result = await withProgress("StarCoder", (token, progress) => {
      progress.report({ message: PROGRESS_TEXT[params.task] });
      return this.stream(params, answer, token, progress);
    });
    if (result?.edit) {
      await answer.close();
      const edit = await this.client.running.protocol2CodeConverter.asWorkspaceEdit(result.edit);
      await this.previews.offer(edit, [result.note, result.title].filter(Boolean).join(" "), base);
    } else if (result?.note) {
      answer.show(result.note);
    } else {
      await answer.close();
    }
  }

  /** Send a task to the server, and show its stages and partial answer until the result arrives. */
  private async stream(
    params: protocol.TaskParams,
    answer: Answer,
    token: vscode.CancellationToken,
    progress: ShownProgress,
  ): Promise<protocol.TaskResult> {
    const { running } = this.client;
    const partialResultToken = `starcoder-task-${crypto.randomUUID()}`;
    const listener = running.onProgress(protocol.taskProgress, partialResultToken, (value) => {
      if ("stage" in value) {
        progress.report({ message: withoutLinks(value.stage) });
      } else {
        answer.append(value.text, value.begins);
      }
    });
    try {
      return await running.sendRequest(protocol.task, { ...params, partialResultToken }, token);
    } finally {
      listener.dispose();
    }
  }
}

/** Return the instruction of a task, empty if it needs none, undefined if the user gives none. */
async function askForInstruction(task: protocol.TaskName): Promise<string | undefined> {
  if (task === "edit") {
    return askFor("What should be changed?");
  }
  if (task === "translate") {
    const placeHolder = "Translate to";
    const language = await vscode.window.showQuickPick([...LANGUAGES, OTHER_LANGUAGE], {
      placeHolder,
    });
    return language === OTHER_LANGUAGE ? askFor("To which language?") : language;
  }
  return "";
}

/** Return what the user writes, undefined if it is empty. */
async function askFor(prompt: string): Promise<string | undefined> {
  const text = await vscode.window.showInputBox({ prompt });
  return text?.trim() ? text : undefined;
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
  request: (token: vscode.CancellationToken, progress: ShownProgress) => Promise<T>,
): Promise<T | undefined> {
  const options = { location: vscode.ProgressLocation.Notification, title, cancellable: true };
  return vscode.window.withProgress(options, async (progress, token) => {
    try {
      return await request(token, progress);
    } catch (error) {
      if (!token.isCancellationRequested) {
        const message = error instanceof Error ? error.message : String(error);
        void vscode.window.showWarningMessage(withoutLinks(message));
      }
      return undefined;
    }
  });
}
