// What is attached to the next message: the selection, files; shown as chips with their size.
import * as vscode from "vscode";
import type { Client } from "../client";
import * as protocol from "../protocol";

const MOST_FILES = 2000;

export class Attachments {
  private all: protocol.Attachment[] = [];

  constructor(
    private readonly client: Client,
    private readonly tell: (chips: protocol.Chip[]) => void,
  ) {}

  /** Attach what is selected in an editor, or its file where nothing is. */
  async addSelection(editor: vscode.TextEditor | undefined): Promise<void> {
    if (editor === undefined) {
      throw new Error("Open a file first.");
    }
    const { document, selection } = editor;
    const uri = document.uri.toString();
    await this.add(
      selection.isEmpty
        ? { kind: "file", uri }
        : { kind: "selection", uri, range: { start: selection.start, end: selection.end } },
    );
  }

  /** Let the user choose a file; false if none was. */
  async addFile(): Promise<boolean> {
    const found = await vscode.workspace.findFiles("**/*", undefined, MOST_FILES);
    const items = found.map((uri) => ({ label: vscode.workspace.asRelativePath(uri), uri }));
    items.sort((one, two) => one.label.localeCompare(two.label));
    const chosen = await vscode.window.showQuickPick(items, { placeHolder: "File to attach" });
    if (chosen !== undefined) {
      await this.add({ kind: "file", uri: chosen.uri.toString() });
    }
    return chosen !== undefined;
  }

  async remove(index: number): Promise<void> {
    this.all.splice(index, 1);
    await this.show();
  }

  async show(): Promise<void> {
    this.tell(await this.chips());
  }

  /** Let go of all. */
  take(): protocol.Attachment[] {
    const attachments = this.all;
    this.all = [];
    this.tell([]);
    return attachments;
  }

  /** Let go of all, and return them with what is shown of them. */
  async taken(): Promise<{ attachments: protocol.Attachment[]; chips: protocol.Chip[] }> {
    const chips = await this.chips();
    return { chips, attachments: this.take() };
  }

  private async add(one: protocol.Attachment): Promise<void> {
    this.all.push(one);
    try {
      await this.show();
    } catch (error) {
      this.all = this.all.filter((other) => other !== one);
      throw error;
    }
  }

  private chips(): Promise<protocol.Chip[]> {
    return this.client.running.sendRequest(protocol.attach, { attachments: this.all });
  }
}
