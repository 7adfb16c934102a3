// The status bar: what the server last said, and a menu.
import * as vscode from "vscode";
import type { Client } from "./client";
import { statusText } from "./statusText";

export function showStatus(client: Client): vscode.Disposable {
  const item = vscode.window.createStatusBarItem("starcoder", vscode.StatusBarAlignment.Right, 100);
  item.name = "StarCoder";
  item.command = "starcoder.menu";
  const update = () => {
    const shown = statusText(client.status);
    item.text = shown.text;
    item.tooltip = new vscode.MarkdownString(shown.tooltip);
    item.accessibilityInformation = { label: shown.text.replace(/\$\([^)]*\)/g, "").trim() };
    item.backgroundColor = shown.warns
      ? new vscode.ThemeColor("statusBarItem.warningBackground")
      : undefined;
  };
  update();
  item.show();
  return vscode.Disposable.from(item, client.onStatus(update));
}

interface Choice extends vscode.QuickPickItem {
  act: () => Thenable<unknown>;
}

export async function menu(client: Client): Promise<void> {
  const config = vscode.workspace.getConfiguration("starcoder");
  const language = vscode.window.activeTextEditor?.document.languageId;
  const enabled = config.get<boolean>("enabled", true);
  const off = config.get<string[]>("disabledLanguages", []);
  const choices: Choice[] = [
    {
      label: enabled ? "$(circle-slash) Turn off everywhere" : "$(sparkle) Turn on",
      act: () => (enabled ? config.update("enabled", false, GLOBAL) : turnOn(config)),
    },
  ];
  if (vscode.workspace.workspaceFolders !== undefined && enabled) {
    choices.push({
      label: "$(circle-slash) Turn off in this workspace",
      act: () => config.update("enabled", false, vscode.ConfigurationTarget.Workspace),
    });
  }
  if (language !== undefined) {
    const isOff = off.includes(language);
    const next = isOff ? off.filter((one) => one !== language) : [...off, language];
    choices.push({
      label: isOff
        ? `$(sparkle) Turn on for ${language}`
        : `$(circle-slash) Turn off for ${language}`,
      act: () => config.update("disabledLanguages", next, targetOf(config, "disabledLanguages")),
    });
  }
  choices.push(
    { label: "$(chip) Choose a model…", act: chooseModel },
    { label: "$(comment-discussion) Open the chat", act: () => run("starcoder.chat.focus") },
    { label: "$(output) Open the log", act: async () => client.log.show() },
    { label: "$(debug-restart) Restart the server", act: () => run("starcoder.restart") },
    { label: "$(gear) Settings", act: () => run("workbench.action.openSettings", "starcoder") },
  );
  const placeHolder = statusText(client.status).tooltip.split("\n")[0] ?? "";
  const chosen = await vscode.window.showQuickPick(choices, { placeHolder });
  await chosen?.act();
}

const GLOBAL = vscode.ConfigurationTarget.Global;
const WORKSPACE = vscode.ConfigurationTarget.Workspace;

/** Return where a setting must be written to have an effect here. */
function targetOf(config: vscode.WorkspaceConfiguration, name: string): vscode.ConfigurationTarget {
  return config.inspect(name)?.workspaceValue === undefined ? GLOBAL : WORKSPACE;
}

/** Turn it on here, wherever it was turned off. */
async function turnOn(config: vscode.WorkspaceConfiguration): Promise<void> {
  const set = config.inspect<boolean>("enabled");
  if (set?.workspaceValue === false) {
    await config.update("enabled", undefined, WORKSPACE);
  }
  if (set?.globalValue === false) {
    await config.update("enabled", undefined, GLOBAL);
  }
}

function run(command: string, ...args: unknown[]): Thenable<unknown> {
  return vscode.commands.executeCommand(command, ...args);
}

const MODELS = [
  { label: "auto", description: "the largest StarCoder on disk that fits this machine" },
  { label: "demo", description: "the embedded demo model, for a look" },
  { label: "bigcode/tiny_starcoder_py", description: "164M, Python only: in time on a CPU" },
  { label: "bigcode/starcoderbase-1b", description: "gated: accept its licence on the hub first" },
  { label: "bigcode/starcoderbase-7b", description: "gated; a GPU of 16 GB" },
  { label: "bigcode/starcoder", description: "15.5B, gated; a GPU of 40 GB" },
  { label: "Another…", description: "a hub id or a folder" },
];

async function chooseModel(): Promise<void> {
  const chosen = await vscode.window.showQuickPick(MODELS, { placeHolder: "Model" });
  const name =
    chosen?.label === "Another…"
      ? await vscode.window.showInputBox({ prompt: "Hub id or folder of a model" })
      : chosen?.label;
  if (name !== undefined && name !== "") {
    const config = vscode.workspace.getConfiguration("starcoder");
    await config.update("model", name, vscode.ConfigurationTarget.Global);
  }
}
