// Inserts code from an answer into the file that was last active.
import * as vscode from "vscode";

/** Insert code at the cursor or in place of the selection, and show the file. */
export async function putCode(
  editor: vscode.TextEditor | undefined,
  code: string,
  replacesSelection: boolean,
): Promise<void> {
  if (editor === undefined) {
    throw new Error("No file is open. Open the file that should receive the code.");
  }
  const { document, viewColumn, selection } = editor;
  const column = viewColumn ?? vscode.ViewColumn.Active;
  const target = await vscode.window.showTextDocument(document, { viewColumn: column, selection });
  await target.edit((change) =>
    replacesSelection
      ? change.replace(target.selection, code)
      : change.insert(target.selection.active, code),
  );
}
