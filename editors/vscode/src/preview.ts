// Shows the edit that a task proposes as a diff, with buttons to accept or discard it.
import * as vscode from "vscode";

export const SCHEME = "starcoder-preview";

/** Shows proposed edits before they are applied. */
export class Previews implements vscode.TextDocumentContentProvider, vscode.Disposable {
  private readonly contents = new Map<string, string>();
  private decide: ((accepted: boolean) => void) | undefined;
  private numDocuments = 0;
  private readonly registrations = vscode.Disposable.from(
    vscode.workspace.registerTextDocumentContentProvider(SCHEME, this),
    vscode.commands.registerCommand("starcoder.preview.accept", () => this.decide?.(true)),
    vscode.commands.registerCommand("starcoder.preview.discard", () => this.decide?.(false)),
    vscode.workspace.onDidCloseTextDocument((document) => {
      if (document.uri.scheme === SCHEME && !this.isShown()) {
        this.decide?.(false);
      }
    }),
  );

  provideTextDocumentContent(uri: vscode.Uri): string {
    return this.contents.get(uri.toString()) ?? "";
  }

  dispose(): void {
    this.registrations.dispose();
  }

  /** Show an edit as a diff, and apply it if the user accepts. Returns whether it was applied. */
  async offer(edit: vscode.WorkspaceEdit, title: string): Promise<boolean> {
    this.decide?.(false);
    const files = await Promise.all(edit.entries().map(([uri, edits]) => this.preview(uri, edits)));
    const [first] = files;
    if (first === undefined) {
      return false;
    }
    await vscode.commands.executeCommand("vscode.diff", first.before, first.after, title, {
      preview: true,
    });
    const accepted = await new Promise<boolean>((resolve) => {
      this.decide = resolve;
      void vscode.window.showInformationMessage(title, "Accept", "Discard").then((choice) => {
        if (choice !== undefined) {
          resolve(choice === "Accept");
        }
      });
    });
    this.decide = undefined;
    await this.close();
    return accepted && this.apply(files);
  }

  private async preview(uri: vscode.Uri, edits: vscode.TextEdit[]): Promise<FilePreview> {
    const document = await vscode.workspace.openTextDocument(uri).then(
      (opened) => opened,
      () => undefined,
    );
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
    const before = document === undefined ? this.addDocument(uri, "") : uri;
    const after = this.addDocument(uri, newText);
    return { uri, edits, exists: document !== undefined, before, after };
  }

  private addDocument(uri: vscode.Uri, text: string): vscode.Uri {
    this.numDocuments += 1;
    // VS Code detects the language by the file extension, so the path stays the same.
    const query = String(this.numDocuments);
    const documentUri = vscode.Uri.from({ scheme: SCHEME, path: uri.path, query });
    this.contents.set(documentUri.toString(), text);
    return documentUri;
  }

  private async apply(files: FilePreview[]): Promise<boolean> {
    const edit = new vscode.WorkspaceEdit();
    for (const { uri, edits, exists } of files) {
      if (!exists) {
        edit.createFile(uri, { overwrite: false, ignoreIfExists: true });
      }
      edit.set(uri, edits);
    }
    const isApplied = await vscode.workspace.applyEdit(edit);
    const first = files[0]?.uri;
    if (isApplied && first !== undefined) {
      await vscode.window.showTextDocument(await vscode.workspace.openTextDocument(first));
    }
    return isApplied;
  }

  private tabs(): vscode.Tab[] {
    const all = vscode.window.tabGroups.all.flatMap((group) => group.tabs);
    return all.filter(
      ({ input }) => input instanceof vscode.TabInputTextDiff && input.modified.scheme === SCHEME,
    );
  }

  private isShown(): boolean {
    return this.tabs().length > 0;
  }

  private async close(): Promise<void> {
    await vscode.window.tabGroups.close(this.tabs());
    this.contents.clear();
  }
}

interface FilePreview {
  /** The file to edit or create. */
  uri: vscode.Uri;
  edits: vscode.TextEdit[];
  exists: boolean;
  /** The documents on the left and right side of the diff. */
  before: vscode.Uri;
  after: vscode.Uri;
}
