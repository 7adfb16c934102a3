// How the user gets a server: installs it, or chooses the program.
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import * as vscode from "vscode";
import { withoutLinks } from "./notices";
import { installPinned, readPin } from "./pinnedServer";
import { effectiveTarget } from "./settings";

const run = promisify(execFile);
const CHOOSE = "Choose the Program…";

/** The folder of the extension that says which server belongs to it. */
export function distFolder(context: vscode.ExtensionContext): string {
  return vscode.Uri.joinPath(context.extensionUri, "dist").fsPath;
}

/** Say that there is no server, and offer what can be done about it. */
export async function offerInstallation(dist: string): Promise<void> {
  const { clone } = await readPin(dist);
  const advice =
    clone === undefined ? "" : ` Run "make setup" in ${clone}, then restart the server.`;
  const choice = await vscode.window.showWarningMessage(
    withoutLinks(`StarCoder needs its server, a Python package, which is not installed.${advice}`),
    ...(clone === undefined ? ["Install"] : ["Restart"]),
    CHOOSE,
    "How to",
  );
  switch (choice) {
    case "Install":
      return vscode.commands.executeCommand("starcoder.install");
    case "Restart":
      return vscode.commands.executeCommand("starcoder.restart");
    case CHOOSE:
      return vscode.commands.executeCommand("starcoder.chooseProgram");
    case "How to":
      return vscode.commands.executeCommand(
        "workbench.action.openWalkthrough",
        "starcoder-lsp.starcoder#start",
      );
  }
}

/** Install the server in the extension's storage, and use it. */
export async function install(context: vscode.ExtensionContext): Promise<void> {
  const options = { location: vscode.ProgressLocation.Notification, title: "Installing StarCoder" };
  try {
    const program = await vscode.window.withProgress(options, (progress) =>
      installPinned({
        dist: distFolder(context),
        folder: vscode.Uri.joinPath(context.globalStorageUri, "server").fsPath,
        isWindows: process.platform === "win32",
        report: (message) => progress.report({ message }),
      }),
    );
    await useProgram(program);
  } catch (error) {
    const message = `StarCoder could not be installed: ${reason(error)}`;
    const choice = await vscode.window.showErrorMessage(withoutLinks(message), CHOOSE);
    if (choice !== undefined) {
      await chooseProgram();
    }
  }
}

/** Let the user choose the server's program, and use it if it is one. */
export async function chooseProgram(): Promise<void> {
  const [chosen] =
    (await vscode.window.showOpenDialog({
      title: "The program starcoder-lsp, for example in the folder .venv/bin of a clone",
      openLabel: "Use",
    })) ?? [];
  if (chosen === undefined) {
    return;
  }
  const program = chosen.fsPath;
  const output = await run(program, ["--version"], { timeout: 60_000 }).then(
    ({ stdout }) => stdout,
    () => "",
  );
  if (!output.startsWith("starcoder-lsp ")) {
    const message = `${program} is not the program starcoder-lsp. Choose the file of this name.`;
    void vscode.window.showErrorMessage(withoutLinks(message));
    return;
  }
  await useProgram(program);
}

/** Store the program in the scope in which the setting takes effect. This restarts the server. */
async function useProgram(program: string): Promise<void> {
  const config = vscode.workspace.getConfiguration("starcoder");
  await config.update("serverCommand", [program], effectiveTarget(config, "serverCommand"));
}

/** Return why an installation failed, in one line. */
function reason(error: unknown): string {
  const failure = error as { code?: unknown; path?: string; stderr?: string; message?: string };
  if (failure.code === "ENOENT" && failure.path?.startsWith("python")) {
    return `${failure.path} was not found. Install Python 3.11 or newer.`;
  }
  const lines = (failure.stderr || failure.message || String(error)).trim().split("\n");
  return lines.find((line) => line.startsWith("ERROR:")) ?? lines.at(-1) ?? "";
}
