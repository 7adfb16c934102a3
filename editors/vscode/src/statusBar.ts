// The status bar item, which shows the server's last status, and its menu.
import * as vscode from "vscode";
import type { Client } from "./client";
import { effectiveTarget } from "./settings";
import { statusText } from "./statusText";

/** Show the status bar item and keep it up to date. */
export function showStatus(client: Client): vscode.Disposable {
  const item = vscode.window.createStatusBarItem("starcoder", vscode.StatusBarAlignment.Right, 100);
  item.name = "StarCoder";
  item.command = "starcoder.menu";
  const update = () => {
    const { text, tooltip, isWarning } = statusText(client.status);
    item.text = text;
    item.tooltip = new vscode.MarkdownString(tooltip);
    item.accessibilityInformation = { label: text.replace(/\$\([^)]*\)/g, "").trim() };
    item.backgroundColor = isWarning
      ? new vscode.ThemeColor("statusBarItem.warningBackground")
      : undefined;
  };
  update();
  item.show();
  return vscode.Disposable.from(item, client.onStatus(update));
}

interface MenuItem extends vscode.QuickPickItem {
  act: () => Thenable<unknown>;
}

/** Show the menu of the status bar item. */
export async function menu(client: Client): Promise<void> {
  const config = vscode.workspace.getConfiguration("starcoder");
  const language = vscode.window.activeTextEditor?.document.languageId;
  const enabled = config.get<boolean>("enabled", true);
  const disabledLanguages = config.get<string[]>("disabledLanguages", []);
  const items: MenuItem[] = [
    {
      label: enabled ? "$(circle-slash) Turn off everywhere" : "$(sparkle) Turn on",
      act: () => (enabled ? config.update("enabled", false, GLOBAL) : turnOn(config)),
    },
  ];
  if (vscode.workspace.workspaceFolders !== undefined && enabled) {
    items.push({
      label: "$(circle-slash) Turn off in this workspace",
      act: () => config.update("enabled", false, vscode.ConfigurationTarget.Workspace),
    });
  }
  if (language !== undefined) {
    const isOff = disabledLanguages.includes(language);
    const changed = isOff
      ? disabledLanguages.filter((other) => other !== language)
      : [...disabledLanguages, language];
    items.push({
      label: isOff
        ? `$(sparkle) Turn on for ${language}`
        : `$(circle-slash) Turn off for ${language}`,
      act: () =>
        config.update("disabledLanguages", changed, effectiveTarget(config, "disabledLanguages")),
    });
  }
  items.push(
    { label: "$(chip) Choose a model…", act: () => run("starcoder.chooseModel") },
    {
      label: "$(comment) Choose a chat model…",
      act: () => run("starcoder.chooseChatModel"),
    },
    { label: "$(comment-discussion) Open the chat", act: () => run("starcoder.chat.focus") },
    { label: "$(server-process) Running engines…", act: () => run("starcoder.engines") },
    { label: "$(output) Open the log", act: async () => client.log.show() },
    ...serverItems(),
    { label: "$(gear) Settings", act: () => run("workbench.action.openSettings", "starcoder") },
  );
  if (client.status?.state === "error") {
    // The way out comes first.
    const isServerItem = ({ label }: MenuItem) =>
      serverItems().some((item) => item.label === label);
    items.sort((left, right) => Number(isServerItem(right)) - Number(isServerItem(left)));
  }
  const placeHolder = statusText(client.status).tooltip.split("\n")[0] ?? "";
  const selected = await vscode.window.showQuickPick(items, { placeHolder });
  await selected?.act();
}

/** Return the items that change which server runs. */
function serverItems(): MenuItem[] {
  return [
    { label: "$(debug-restart) Restart the server", act: () => run("starcoder.restart") },
    {
      label: "$(file-binary) Choose the server's program…",
      act: () => run("starcoder.chooseProgram"),
    },
    { label: "$(cloud-download) Install the server", act: () => run("starcoder.install") },
  ];
}

const GLOBAL = vscode.ConfigurationTarget.Global;
const WORKSPACE = vscode.ConfigurationTarget.Workspace;

/** Remove `enabled: false` from every scope that applies to this workspace. */
async function turnOn(config: vscode.WorkspaceConfiguration): Promise<void> {
  const values = config.inspect<boolean>("enabled");
  if (values?.workspaceValue === false) {
    await config.update("enabled", undefined, WORKSPACE);
  }
  if (values?.globalValue === false) {
    await config.update("enabled", undefined, GLOBAL);
  }
}

function run(command: string, ...args: unknown[]): Thenable<unknown> {
  return vscode.commands.executeCommand(command, ...args);
}
