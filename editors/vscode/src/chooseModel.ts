// Lets the user choose the model for completions, or another one for the chat.
import * as vscode from "vscode";
import { type ModelSetting, modelItems, valueToWrite } from "./models";
import { effectiveTarget } from "./settings";

const PLACEHOLDERS: Record<ModelSetting, string> = {
  model: "Model for completions",
  chatModel: "Model for the chat and its tasks, such as writing tests",
};

/** Ask for a model and store it in the scope in which the setting takes effect. */
export async function chooseModel(setting: ModelSetting): Promise<void> {
  const config = vscode.workspace.getConfiguration("starcoder");
  const current = config.get<string>(setting, "");
  const engineUrl = config.get<string | null>("engineUrl") ?? "";
  const selected = await vscode.window.showQuickPick(modelItems(setting, current, engineUrl), {
    placeHolder: PLACEHOLDERS[setting],
  });
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

/** Return the name that the user types, undefined for an empty one. */
async function askForName(setting: ModelSetting, what: string): Promise<string | undefined> {
  const prompt = `${PLACEHOLDERS[setting]}: ${what}`;
  const name = await vscode.window.showInputBox({ prompt });
  return name?.trim() || undefined;
}
