// Answers in words, in read-only documents that grow while the model generates them.
import * as vscode from "vscode";

const SCHEME = "starcoder-answer";

/** Shows answers next to the code. They are never files, so nothing asks to save them. */
export class Answers implements vscode.TextDocumentContentProvider, vscode.Disposable {
  private readonly changes = new vscode.EventEmitter<vscode.Uri>();
  readonly onDidChange = this.changes.event;
  private readonly texts = new Map<string, string>();
  private numAnswers = 0;
  private readonly registrations = vscode.Disposable.from(
    this.changes,
    vscode.workspace.registerTextDocumentContentProvider(SCHEME, this),
    vscode.window.tabGroups.onDidChangeTabs(({ closed }) => {
      for (const { input } of closed) {
        if (input instanceof vscode.TabInputText) {
          this.texts.delete(input.uri.toString());
        }
      }
    }),
  );

  provideTextDocumentContent(uri: vscode.Uri): string {
    return this.texts.get(uri.toString()) ?? "";
  }

  dispose(): void {
    this.registrations.dispose();
  }

  /** Return a new answer in markdown. Its document opens with its first text. */
  begin(title: string): Answer {
    this.numAnswers += 1;
    // A slash in the title would make a folder of it.
    const path = `/${title.replaceAll("/", "∕")}.md`;
    const uri = vscode.Uri.from({ scheme: SCHEME, path, query: String(this.numAnswers) });
    return new Answer(uri, (text) => {
      this.texts.set(uri.toString(), text);
      this.changes.fire(uri);
    });
  }
}

/** The answer to one request. */
export class Answer {
  private text = "";
  private opening: Thenable<unknown> | undefined;

  constructor(
    private readonly uri: vscode.Uri,
    private readonly update: (text: string) => void,
  ) {}

  append(chunk: string, isNewAttempt: boolean): void {
    this.show(isNewAttempt ? chunk : this.text + chunk);
  }

  /** Show the text; the first one opens the document and leaves the focus where it is. */
  show(text: string): void {
    this.text = text;
    this.update(text);
    this.opening ??= vscode.window.showTextDocument(this.uri, {
      viewColumn: vscode.ViewColumn.Beside,
      preserveFocus: true,
      preview: true,
    });
  }

  /** Close the document. */
  async close(): Promise<void> {
    // A short task may finish before its document is open.
    await this.opening?.then(undefined, () => undefined);
    const tabs = vscode.window.tabGroups.all.flatMap((group) => group.tabs);
    const own = this.uri.toString();
    await vscode.window.tabGroups.close(
      tabs.filter(
        ({ input }) => input instanceof vscode.TabInputText && input.uri.toString() === own,
      ),
    );
  }
}
