// Code of an answer, put into the file that was last looked at.
import * as vscode from "vscode";

/** Insert code at the cursor, or write it over the selection, and show where it went. */
export async function putCode(
  editor: vscode.TextEditor | undefined,
  code: string,
  overSelection: boolean,
): Promise<void> {
  if (editor === undefined) {
    throw new Error("Open the file that it is to go into.");
  }
  const { document, viewColumn, selection } = editor;
  const column = viewColumn ?? vscode.ViewColumn.Active;
  const shown = await vscode.window.showTextDocument(document, { viewColumn: column, selection });
  await shown.edit((change) =>
    overSelection
      ? change.replace(shown.selection, code)
      : change.insert(shown.selection.active, code),
  );
}
