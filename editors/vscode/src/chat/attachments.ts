// The attachments of the next message: selections and files, shown as chips with their size.
import * as vscode from "vscode";
import type { Client } from "../client";
import * as protocol from "../protocol";

/** Maximum number of files in the list to choose from. */
const MAX_FILES = 2000;

/** The attachments that the next message will send. */
export class Attachments {
  private attachments: protocol.Attachment[] = [];

  constructor(
    private readonly client: Client,
    private readonly onChange: (chips: protocol.Chip[]) => void,
  ) {}

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
        : { kind: "selection", uri, range: { start: selection.start, end: selection.end } },
    );
  }

  /** Let the user choose a file to attach. Returns false if the user chose none. */
  async addFile(): Promise<boolean> {
    const uris = await vscode.workspace.findFiles("**/*", undefined, MAX_FILES);
    const items = uris.map((uri) => ({ label: vscode.workspace.asRelativePath(uri), uri }));
    items.sort((left, right) => left.label.localeCompare(right.label));
    const item = await vscode.window.showQuickPick(items, { placeHolder: "File to attach" });
    if (item !== undefined) {
      await this.add({ kind: "file", uri: item.uri.toString() });
    }
    return item !== undefined;
  }

  async remove(index: number): Promise<void> {
    this.attachments.splice(index, 1);
    await this.show();
  }

  async show(): Promise<void> {
    this.onChange(await this.chips());
  }

  /** Remove all attachments and return them. */
  take(): protocol.Attachment[] {
    const attachments = this.attachments;
    this.attachments = [];
    this.onChange([]);
    return attachments;
  }

  /** Remove all attachments and return them with their chips. */
  async takeWithChips(): Promise<{ attachments: protocol.Attachment[]; chips: protocol.Chip[] }> {
    const chips = await this.chips();
    return { chips, attachments: this.take() };
  }

  private async add(attachment: protocol.Attachment): Promise<void> {
    this.attachments.push(attachment);
    try {
      await this.show();
    } catch (error) {
      this.attachments = this.attachments.filter((other) => other !== attachment);
      throw error;
    }
  }

  private chips(): Promise<protocol.Chip[]> {
    return this.client.running.sendRequest(protocol.attach, { attachments: this.attachments });
  }
}
