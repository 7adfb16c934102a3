// Shows the edit that a task proposes as a diff, with buttons to accept or discard it.
import * as vscode from "vscode";
import { withoutLinks } from "./notices";

const SCHEME = "starcoder-preview";
const BUTTONS =
  "[Accept](command:starcoder.preview.accept) or [Discard](command:starcoder.preview.discard)";

/** The document for which a task was requested, as it was then. */
export interface Base {
  uri: vscode.Uri;
  text: string;
}

/** Shows proposed edits before they are applied. There is at most one proposal at a time. */
export class Previews implements vscode.TextDocumentContentProvider, vscode.Disposable {
  private readonly contents = new Map<string, string>();
  private current: Decision | undefined;
  private numDocuments = 0;
  private readonly registrations = vscode.Disposable.from(
    vscode.workspace.registerTextDocumentContentProvider(SCHEME, this),
    vscode.commands.registerCommand("starcoder.preview.accept", () => this.current?.make(true)),
    vscode.commands.registerCommand("starcoder.preview.discard", () => this.current?.make(false)),
    vscode.window.tabGroups.onDidChangeTabs(({ closed }) => this.current?.tabsClosed(closed)),
  );

  provideTextDocumentContent(uri: vscode.Uri): string {
    return this.contents.get(uri.toString()) ?? "";
  }

  dispose(): void {
    this.current?.make(false);
    this.registrations.dispose();
  }

  /**
   * Show an edit as diffs, one per file, and apply it if the user accepts. Returns whether it was
   * applied. A new proposal discards the one that is shown.
   */
  async offer(edit: vscode.WorkspaceEdit, title: string, base: Base): Promise<boolean> {
    this.current?.make(false);
    const decision = new Decision();
    this.current = decision;
    const files = await Promise.all(edit.entries().map(([uri, edits]) => this.preview(uri, edits)));
    if (files.some(({ uri, text }) => isSame(uri, base.uri) && text !== base.text)) {
      decision.make(false);
      reportChange(base.uri);
    }
    if (files.length === 0 || decision.isMade) {
      return false;
    }
    await this.show(files, title, decision);
    const isAccepted = await askWithToast(title, decision);
    await decision.closeTabs();
    for (const { before, after } of files) {
      this.contents.delete(before.toString());
      this.contents.delete(after.toString());
    }
    return isAccepted && apply(files);
  }

  private async preview(uri: vscode.Uri, edits: vscode.TextEdit[]): Promise<FilePreview> {
    const document = await findDocument(uri);
    const text = document?.getText() ?? "";
    const lastFirst = [...edits].sort((left, right) =>
      right.range.start.compareTo(left.range.start),
    );
    let newText = text;
    for (const edit of lastFirst) {
      const start = document?.offsetAt(edit.range.start) ?? 0;
      const end = document?.offsetAt(edit.range.end) ?? 0;
      newText = newText.slice(0, start) + edit.newText + newText.slice(end);
    }
    const language = document?.languageId;
    if (document === undefined) {
      // VS Code shows an empty text as a removed empty line. A last line on both sides avoids this.
      const [before, after] = [" ", `${newText}${newText.endsWith("\n") ? "" : "\n"} `];
      return {
        uri,
        edits,
        text: undefined,
        newText,
        ...this.addDocuments(uri, before, after),
        language,
      };
    }
    return { uri, edits, text, newText, ...this.addDocuments(uri, text, newText), language };
  }

  private addDocuments(uri: vscode.Uri, before: string, after: string) {
    return { before: this.addDocument(uri, before), after: this.addDocument(uri, after) };
  }

  private addDocument(uri: vscode.Uri, text: string): vscode.Uri {
    this.numDocuments += 1;
    // VS Code selects the editor by the file extension, and a cell is not a notebook.
    const path = isCell(uri) ? `${uri.path}.cell` : uri.path;
    const query = String(this.numDocuments);
    const documentUri = vscode.Uri.from({
      scheme: SCHEME,
      path: `/${path}`.replace(/^\/+/, "/"),
      query,
    });
    this.contents.set(documentUri.toString(), text);
    return documentUri;
  }

  private async show(files: FilePreview[], title: string, decision: Decision): Promise<void> {
    // The first file is opened last, so that it is in front.
    for (const { uri, text, before, after, language } of [...files].reverse()) {
      decision.documents.add(after.toString());
      const name = `${vscode.workspace.asRelativePath(isCell(uri) ? uri.path : uri)}${text === undefined ? " (new file)" : ""}`;
      if (language !== undefined) {
        for (const side of [before, after]) {
          const document = await vscode.workspace.openTextDocument(side);
          await vscode.languages.setTextDocumentLanguage(document, language);
        }
      }
      // A preview tab would be replaced by the next file that the user looks at.
      const options = { preview: false };
      await vscode.commands.executeCommand(
        "vscode.diff",
        before,
        after,
        `${name}: ${title}`,
        options,
      );
    }
  }
}

interface FilePreview {
  /** The file to edit or create. */
  uri: vscode.Uri;
  edits: vscode.TextEdit[];
  /** The text that the edits are for, undefined for a file to create. */
  text: string | undefined;
  newText: string;
  /** The documents on the left and right side of the diff. */
  before: vscode.Uri;
  after: vscode.Uri;
  /** The language of the document, undefined if the file name decides. */
  language: string | undefined;
}

/** The user's decision on one proposal, and the tabs that show it. */
class Decision {
  /** The documents on the right sides of the diffs. */
  readonly documents = new Set<string>();
  isMade = false;
  make: (isAccepted: boolean) => void = () => undefined;
  readonly made = new Promise<boolean>((resolve) => {
    this.make = (isAccepted) => {
      this.isMade = true;
      resolve(isAccepted);
    };
  });

  /** Discard the proposal if the last of its tabs was closed. */
  tabsClosed(closed: readonly vscode.Tab[]): void {
    if (closed.some((tab) => this.isOwn(tab)) && this.tabs().length === 0) {
      this.make(false);
    }
  }

  async closeTabs(): Promise<void> {
    await vscode.window.tabGroups.close(this.tabs());
  }

  private tabs(): vscode.Tab[] {
    const all = vscode.window.tabGroups.all.flatMap((group) => group.tabs);
    return all.filter((tab) => this.isOwn(tab));
  }

  private isOwn({ input }: vscode.Tab): boolean {
    return (
      input instanceof vscode.TabInputTextDiff && this.documents.has(input.modified.toString())
    );
  }
}

/** Wait for the decision. Progress is the only notification that an extension can close. */
function askWithToast(title: string, decision: Decision): Thenable<boolean> {
  const text = `${BUTTONS}: ${withoutLinks(title)}`;
  // VS Code cuts the text of a notification without a button of its own after one line.
  const options = {
    location: vscode.ProgressLocation.Notification,
    title: text,
    cancellable: true,
  };
  return vscode.window.withProgress(options, (progress, token) => {
    token.onCancellationRequested(() => decision.make(false));
    progress.report({ increment: 100 });
    return decision.made;
  });
}

/** Apply accepted edits, unless a file has changed since its diff was shown. */
async function apply(files: FilePreview[]): Promise<boolean> {
  const edit = new vscode.WorkspaceEdit();
  for (const { uri, edits, text, newText } of files) {
    if ((await findDocument(uri))?.getText() !== text) {
      reportChange(uri);
      return false;
    }
    if (text === undefined) {
      // With its contents, the file is saved, so that the tests can be run.
      edit.createFile(uri, { contents: new TextEncoder().encode(newText) });
    } else {
      edit.set(uri, edits);
    }
  }
  const isApplied = await vscode.workspace.applyEdit(edit);
  const first = files[0]?.uri;
  if (!isApplied) {
    void vscode.window.showWarningMessage("VS Code could not apply the edit.");
  }
  if (isApplied && first !== undefined && !isCell(first)) {
    await vscode.window.showTextDocument(await vscode.workspace.openTextDocument(first));
  }
  return isApplied;
}

/** Return a document, undefined if there is no such file. */
async function findDocument(uri: vscode.Uri): Promise<vscode.TextDocument | undefined> {
  return vscode.workspace.openTextDocument(uri).then(
    (document) => document,
    () => undefined,
  );
}

function reportChange(uri: vscode.Uri): void {
  const name = vscode.workspace.asRelativePath(uri);
  void vscode.window.showWarningMessage(
    withoutLinks(`${name} has changed, so the proposal no longer fits. Run the task again.`),
  );
}

function isCell(uri: vscode.Uri): boolean {
  return uri.scheme === "vscode-notebook-cell";
}

function isSame(left: vscode.Uri, right: vscode.Uri): boolean {
  return left.toString() === right.toString();
}
