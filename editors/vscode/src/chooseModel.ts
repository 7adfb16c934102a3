// Lets the user choose the model for completions, or another one for the chat.
import { execFile } from "node:child_process";
import * as vscode from "vscode";
import type { Client } from "./client";
import { type ModelItem, type ModelSetting, modelItems, parseModels, valueToWrite } from "./models";
import { effectiveTarget } from "./settings";

const PLACEHOLDERS: Record<ModelSetting, string> = {
  model: "Model for completions",
  chatModel: "Model for the chat and its tasks, such as writing tests",
};

/** Milliseconds after which the menu does without the models on this machine. */
const MAX_LISTING_MS = 60_000;

/** Ask for a model and store it in the scope in which the setting takes effect. */
export async function chooseModel(client: Client, setting: ModelSetting): Promise<void> {
  const config = vscode.workspace.getConfiguration("starcoder");
  const selected = await showMenu(client, setting, config);
  if (selected === undefined) {
    return;
  }
  const name = selected.value ?? (await askForName(setting, selected.description));
  if (name !== undefined) {
    const target = effectiveTarget(config, setting);
    const isInWorkspace = target === vscode.ConfigurationTarget.Workspace;
    await config.update(setting, valueToWrite(name, isInWorkspace), target);
  }
}

/** Show the menu immediately, and add the models on this machine when they are known. */
async function showMenu(
  client: Client,
  setting: ModelSetting,
  config: vscode.WorkspaceConfiguration,
): Promise<ModelItem | undefined> {
  const current = config.get<string>(setting, "");
  const engineUrl = config.get<string | null>("engineUrl") ?? "";
  const menu = vscode.window.createQuickPick<ModelItem & vscode.QuickPickItem>();
  const show = (items: ModelItem[]) => {
    menu.items = items.map((item) => ({
      ...item,
      kind: item.isSeparator
        ? vscode.QuickPickItemKind.Separator
        : vscode.QuickPickItemKind.Default,
    }));
  };
  const { Separator } = vscode.QuickPickItemKind;
  menu.placeholder = PLACEHOLDERS[setting];
  menu.matchOnDescription = true;
  menu.busy = true;
  menu.keepScrollPosition = true;
  show(modelItems(setting, current, engineUrl));
  const listing = new AbortController();
  void listModels(client, listing.signal).then((output) => {
    if (!listing.signal.aborted) {
      menu.busy = false;
      show(modelItems(setting, current, engineUrl, parseModels(output)));
    }
  });
  menu.show();
  return new Promise((resolve) => {
    menu.onDidAccept(() => {
      resolve(menu.selectedItems.find(({ kind }) => kind !== Separator));
      menu.hide();
    });
    menu.onDidHide(() => {
      listing.abort();
      resolve(undefined);
      menu.dispose();
    });
  });
}

/** Return what the server's program prints about the models on this machine, empty on failure. */
async function listModels(client: Client, signal: AbortSignal): Promise<string> {
  const [program, ...args] = (await client.command()) ?? [];
  if (program === undefined) {
    return "";
  }
  return new Promise((resolve) => {
    const options = { signal, timeout: MAX_LISTING_MS };
    const child = execFile(program, [...args, "models", "--json"], options, (error, output) =>
      resolve(error === null ? output : ""),
    );
    // A command of the user that takes no arguments runs the server, which ends with its input.
    child.stdin?.end();
  });
}

/** Return the name that the user types, undefined for an empty one. */
async function askForName(setting: ModelSetting, what: string): Promise<string | undefined> {
  const prompt = `${PLACEHOLDERS[setting]}: ${what}`;
  const name = await vscode.window.showInputBox({ prompt });
  return name?.trim() || undefined;
}
