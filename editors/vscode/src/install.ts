// Installs the server into its own virtual environment and shows the progress.
import { execFile } from "node:child_process";
import * as path from "node:path";
import { promisify } from "node:util";
import * as vscode from "vscode";

const run = promisify(execFile);

/** Install the server in the extension's storage and return its program, undefined on failure. */
export async function install(context: vscode.ExtensionContext): Promise<string | undefined> {
  const folder = vscode.Uri.joinPath(context.globalStorageUri, "server").fsPath;
  const isWindows = process.platform === "win32";
  const bin = path.join(folder, isWindows ? "Scripts" : "bin");
  const options = { location: vscode.ProgressLocation.Notification, title: "Installing StarCoder" };
  try {
    await vscode.window.withProgress(options, async (progress) => {
      progress.report({ message: "creating a virtual environment" });
      await run(isWindows ? "python" : "python3", ["-I", "-m", "venv", folder]);
      progress.report({ message: "downloading packages (torch is the large one)" });
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
    const output = String((error as { stderr?: string }).stderr ?? error).trim();
    const lastLine = output.split("\n").at(-1) ?? "";
    void vscode.window.showErrorMessage(`StarCoder could not be installed: ${lastLine}`);
    return undefined;
  }
  return path.join(bin, isWindows ? "starcoder-lsp.exe" : "starcoder-lsp");
}
