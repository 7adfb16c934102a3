// Installing the server into an environment of its own, with progress.
import { execFile } from "node:child_process";
import * as path from "node:path";
import { promisify } from "node:util";
import * as vscode from "vscode";

const run = promisify(execFile);

/** Install the server below the extension's storage and return its command. */
export async function install(context: vscode.ExtensionContext): Promise<string | undefined> {
  const folder = vscode.Uri.joinPath(context.globalStorageUri, "server").fsPath;
  const windows = process.platform === "win32";
  const bin = path.join(folder, windows ? "Scripts" : "bin");
  const options = { location: vscode.ProgressLocation.Notification, title: "Installing StarCoder" };
  try {
    await vscode.window.withProgress(options, async (progress) => {
      progress.report({ message: "making an environment" });
      await run(windows ? "python" : "python3", ["-I", "-m", "venv", folder]);
      progress.report({ message: "fetching packages (torch is the large one)" });
      await run(path.join(bin, "python"), [
        "-I",
        "-m",
        "pip",
        "install",
        "--quiet",
        "starcoder-lsp",
      ]);
    });
  } catch (error) {
    const said = String((error as { stderr?: string }).stderr ?? error).trim();
    const last = said.split("\n").at(-1) ?? "";
    void vscode.window.showErrorMessage(`StarCoder could not be installed: ${last}`);
    return undefined;
  }
  return path.join(bin, windows ? "starcoder-lsp.exe" : "starcoder-lsp");
}
