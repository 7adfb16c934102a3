// Installs the server that belongs to this extension, and shows the progress.
import * as vscode from "vscode";
import { installPinned } from "./pinnedServer";

/** Install the server in the extension's storage and return its program, undefined on failure. */
export async function install(context: vscode.ExtensionContext): Promise<string | undefined> {
  const options = { location: vscode.ProgressLocation.Notification, title: "Installing StarCoder" };
  try {
    return await vscode.window.withProgress(options, (progress) =>
      installPinned({
        dist: vscode.Uri.joinPath(context.extensionUri, "dist").fsPath,
        folder: vscode.Uri.joinPath(context.globalStorageUri, "server").fsPath,
        isWindows: process.platform === "win32",
        report: (message) => progress.report({ message }),
      }),
    );
  } catch (error) {
    const failure = error as { stderr?: string; message?: string };
    const output = (failure.stderr || failure.message || String(error)).trim();
    const reason = output.split("\n").find((line) => line.startsWith("ERROR:"));
    const lastLine = reason ?? output.split("\n").at(-1) ?? "";
    void vscode.window.showErrorMessage(`StarCoder could not be installed: ${lastLine}`);
    return undefined;
  }
}
