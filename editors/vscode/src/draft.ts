// What a task is writing, shown while it is written; the diff takes its place.
import * as vscode from "vscode";

export const SCHEME = "starcoder-draft";

/** One document that grows. */
export class Drafts implements vscode.TextDocumentContentProvider, vscode.Disposable {
  private readonly changes = new vscode.EventEmitter<vscode.Uri>();
  readonly onDidChange = this.changes.event;
  private readonly registration = vscode.workspace.registerTextDocumentContentProvider(
    SCHEME,
    this,
  );
  private text = "";
  private shown: vscode.Uri | undefined;

  provideTextDocumentContent(): string {
    return this.text;
  }

  dispose(): void {
    this.registration.dispose();
    this.changes.dispose();
  }

  /** Take a piece of what is written; the first opens the document beside the code. */
  add(piece: string, begins: boolean, title: string): void {
    this.text = begins ? piece : this.text + piece;
    if (this.shown === undefined) {
      this.shown = vscode.Uri.from({ scheme: SCHEME, path: `/${title}.md` });
      void vscode.window.showTextDocument(this.shown, {
        viewColumn: vscode.ViewColumn.Beside,
        preserveFocus: true,
        preview: true,
      });
    }
    this.changes.fire(this.shown);
  }

  /** Close it: what was written is judged, or nothing came of it. */
  async close(): Promise<void> {
    this.shown = undefined;
    this.text = "";
    const tabs = vscode.window.tabGroups.all.flatMap((group) => group.tabs);
    await vscode.window.tabGroups.close(
      tabs.filter(
        ({ input }) => input instanceof vscode.TabInputText && input.uri.scheme === SCHEME,
      ),
    );
  }
}
