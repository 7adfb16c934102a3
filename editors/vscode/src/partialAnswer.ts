// The partial answer of a task, shown while the model generates it. The diff replaces it.
import * as vscode from "vscode";

export const SCHEME = "starcoder-partial-answer";

/** A read-only document that grows with the answer. */
export class PartialAnswer implements vscode.TextDocumentContentProvider, vscode.Disposable {
  private readonly changes = new vscode.EventEmitter<vscode.Uri>();
  readonly onDidChange = this.changes.event;
  private readonly registration = vscode.workspace.registerTextDocumentContentProvider(
    SCHEME,
    this,
  );
  private text = "";
  private openUri: vscode.Uri | undefined;
  private opening: Thenable<unknown> = Promise.resolve();

  provideTextDocumentContent(): string {
    return this.text;
  }

  dispose(): void {
    this.registration.dispose();
    this.changes.dispose();
  }

  /** Append a chunk. The first chunk of a task opens the document next to the code. */
  append(chunk: string, isNewAttempt: boolean, title: string): void {
    this.text = isNewAttempt ? chunk : this.text + chunk;
    if (this.openUri === undefined) {
      this.openUri = vscode.Uri.from({ scheme: SCHEME, path: `/${title}.md` });
      this.opening = vscode.window.showTextDocument(this.openUri, {
        viewColumn: vscode.ViewColumn.Beside,
        preserveFocus: true,
        preview: true,
      });
    }
    this.changes.fire(this.openUri);
  }

  /** Clear and close the document when the task has finished or failed. */
  async close(): Promise<void> {
    this.openUri = undefined;
    this.text = "";
    // A short task may finish before its document is open.
    await this.opening.then(undefined, () => undefined);
    const tabs = vscode.window.tabGroups.all.flatMap((group) => group.tabs);
    await vscode.window.tabGroups.close(
      tabs.filter(
        ({ input }) => input instanceof vscode.TabInputText && input.uri.scheme === SCHEME,
      ),
    );
  }
}
