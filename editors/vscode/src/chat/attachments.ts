// The attachments of the next message: selections and files, shown as chips with their size.
import * as vscode from "vscode";
import type { Client } from "../client";
import * as protocol from "../protocol";
import { movedRange } from "./ranges";

/** Maximum number of files in the list to choose from. */
const MAX_FILES = 2000;
/** Milliseconds without a change after which the chips are computed. */
const DELAY_MS = 200;

/** What the next message will send. */
export class Attachments implements vscode.Disposable {
  private attachments: protocol.Attachment[] = [];
  private chips: protocol.Chip[] = [];
  private text = "";
  private timer: NodeJS.Timeout | undefined;
  private readonly listeners: vscode.Disposable;

  constructor(
    private readonly client: Client,
    private readonly editor: () => vscode.TextEditor | undefined,
    private readonly onChange: (chips: protocol.Chip[]) => void,
  ) {
    this.listeners = vscode.Disposable.from(
      vscode.workspace.onDidChangeTextDocument((change) => this.follow(change)),
      vscode.window.onDidChangeTextEditorSelection(() => {
        if (this.text.startsWith("/")) {
          this.showSoon();
        }
      }),
    );
  }

  dispose(): void {
    clearTimeout(this.timer);
    this.listeners.dispose();
  }

  /** Attach the selection of an editor, or its whole file if nothing is selected. */
  async addSelection(editor: vscode.TextEditor | undefined): Promise<void> {
    if (editor === undefined) {
      throw new Error("No file is open. Open a file to attach.");
    }
    const { document, selection } = editor;
    const uri = document.uri.toString();
    await this.add(
      selection.isEmpty
        ? { kind: "file", uri }
        : { kind: "selection", uri, range: plain(selection) },
    );
  }

  /** Let the user choose a file. Returns its path in the workspace, undefined without a choice. */
  async chooseFile(): Promise<{ uri: vscode.Uri; path: string } | undefined> {
    const uris = await vscode.workspace.findFiles("**/*", undefined, MAX_FILES);
    const items = uris.map((uri) => ({ label: vscode.workspace.asRelativePath(uri, false), uri }));
    items.sort((left, right) => left.label.localeCompare(right.label));
    const item = await vscode.window.showQuickPick(items, { placeHolder: "File to attach" });
    return item && { uri: item.uri, path: item.label };
  }

  async addFile(uri: vscode.Uri): Promise<void> {
    await this.add({ kind: "file", uri: uri.toString() });
  }

  /** Remove the attachment of a chip. Returns the word that mentions it in the text, if any. */
  async remove(index: number): Promise<string> {
    const mention = this.chips[index]?.mention ?? "";
    if (index < this.attachments.length) {
      this.attachments.splice(index, 1);
      await this.show();
    }
    return mention;
  }

  /** The text in the input changed: it may mention files, or be a slash command. */
  setText(text: string): void {
    const changes = matters(text) || matters(this.text);
    this.text = text;
    if (changes) {
      this.showSoon();
    }
  }

  /** Show the chips. Throws an error for an attachment that cannot be read. */
  async show(): Promise<void> {
    const draft = this.draft(this.text);
    const isEmpty = draft.attachments.length === 0 && draft.text === "";
    try {
      this.chips = isEmpty ? [] : await this.client.running.sendRequest(protocol.attach, draft);
    } catch (error) {
      if (this.client.isRunning) {
        throw error;
      }
      this.chips = draft.attachments.map(chipWithoutServer);
    }
    this.onChange(this.chips);
  }

  /** Return a message with all attachments, and remove them from the next one. */
  async take(text: string): Promise<{ draft: protocol.Draft; chips: protocol.Chip[] }> {
    clearTimeout(this.timer);
    if (matters(text)) {
      this.text = text;
      // The server reports what cannot be read when it gets the message.
      await this.show().catch(() => undefined);
    }
    for (const { uri, range } of this.attachments) {
      if (uri !== undefined && range !== undefined) {
        // The server reads selections from open documents only; this one may have been closed.
        await vscode.workspace.openTextDocument(vscode.Uri.parse(uri)).then(undefined, () => {});
      }
    }
    const taken = { draft: this.draft(text), chips: this.chips };
    this.clear();
    return taken;
  }

  /** Attach again what a message that was not sent had attached. */
  async restore(attachments: protocol.Attachment[]): Promise<void> {
    this.attachments = [...attachments, ...this.attachments];
    await this.show();
  }

  clear(): void {
    this.attachments = [];
    this.chips = [];
    this.text = "";
    this.onChange([]);
  }

  private draft(text: string): protocol.Draft {
    const editor = this.editor();
    const draft = { text, attachments: [...this.attachments] };
    return editor === undefined || editor.document.isClosed
      ? draft
      : { ...draft, uri: editor.document.uri.toString(), range: plain(editor.selection) };
  }

  private showSoon(): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.show().catch(() => undefined), DELAY_MS);
  }

  private async add(attachment: protocol.Attachment): Promise<void> {
    const key = JSON.stringify(attachment);
    if (this.attachments.some((other) => JSON.stringify(other) === key)) {
      return;
    }
    this.attachments.push(attachment);
    try {
      await this.show();
    } catch (error) {
      this.attachments = this.attachments.filter((other) => other !== attachment);
      throw error;
    }
  }

  /** Keep selections on their code while the document is edited. */
  private follow({ document, contentChanges }: vscode.TextDocumentChangeEvent): void {
    const uri = document.uri.toString();
    for (const attachment of this.attachments) {
      if (attachment.uri === uri && attachment.range !== undefined) {
        attachment.range = contentChanges.reduce(
          (range, change) => movedRange(range, { range: plain(change.range), text: change.text }),
          attachment.range,
        );
      }
    }
    if (this.attachments.some((attachment) => attachment.uri === uri)) {
      this.showSoon();
    }
  }
}

/** Whether a text may attach something itself: a slash command, or a mention of a file. */
function matters(text: string): boolean {
  return text.startsWith("/") || text.includes("@");
}

function plain({ start, end }: vscode.Range): protocol.Range {
  const { line, character } = start;
  return { start: { line, character }, end: { line: end.line, character: end.character } };
}

function chipWithoutServer({ kind, uri, range }: protocol.Attachment): protocol.Chip {
  const name =
    vscode.Uri.parse(uri ?? "")
      .path.split("/")
      .at(-1) ?? "";
  const last = range && (range.end.character === 0 ? range.end.line : range.end.line + 1);
  const label = range ? `${name}:${range.start.line + 1}-${last}` : name;
  const unknown = { language: "", mention: "", tokens: null, room: null };
  return { ...unknown, kind, label, source: "attached" };
}
