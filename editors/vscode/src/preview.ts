// What a task proposes, as a diff beside what is there: accepted or discarded by a button.
import * as vscode from "vscode";

export const SCHEME = "starcoder-preview";

/** Shows edits before they are made. */
export class Previews implements vscode.TextDocumentContentProvider, vscode.Disposable {
  private readonly contents = new Map<string, string>();
  private decide: ((accepted: boolean) => void) | undefined;
  private count = 0;
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

  /** Show what an edit would make of its files, and make it if the user says so. */
  async offer(edit: vscode.WorkspaceEdit, title: string): Promise<boolean> {
    this.decide?.(false);
    const files = await Promise.all(
      edit.entries().map(([uri, edits]) => this.proposed(uri, edits)),
    );
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
    return accepted && this.make(files);
  }

  private async proposed(uri: vscode.Uri, edits: vscode.TextEdit[]): Promise<Proposed> {
    const document = await vscode.workspace.openTextDocument(uri).then(
      (found) => found,
      () => undefined,
    );
    const text = document?.getText() ?? "";
    const ordered = [...edits].sort((one, two) => two.range.start.compareTo(one.range.start));
    let made = text;
    for (const one of ordered) {
      const start = document?.offsetAt(one.range.start) ?? 0;
      const end = document?.offsetAt(one.range.end) ?? 0;
      made = made.slice(0, start) + one.newText + made.slice(end);
    }
    const before = document === undefined ? this.keep(uri, "") : uri;
    return { uri, edits, exists: document !== undefined, before, after: this.keep(uri, made) };
  }

  private keep(uri: vscode.Uri, text: string): vscode.Uri {
    this.count += 1;
    // The path keeps its ending, by which the language is known.
    const kept = vscode.Uri.from({ scheme: SCHEME, path: uri.path, query: String(this.count) });
    this.contents.set(kept.toString(), text);
    return kept;
  }

  private async make(files: Proposed[]): Promise<boolean> {
    const edit = new vscode.WorkspaceEdit();
    for (const { uri, edits, exists } of files) {
      if (!exists) {
        edit.createFile(uri, { overwrite: false, ignoreIfExists: true });
      }
      edit.set(uri, edits);
    }
    const done = await vscode.workspace.applyEdit(edit);
    const shown = files[0]?.uri;
    if (done && shown !== undefined) {
      await vscode.window.showTextDocument(await vscode.workspace.openTextDocument(shown));
    }
    return done;
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

interface Proposed {
  uri: vscode.Uri;
  edits: vscode.TextEdit[];
  exists: boolean;
  before: vscode.Uri;
  after: vscode.Uri;
}
