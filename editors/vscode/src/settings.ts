// The scopes of settings.
import * as vscode from "vscode";

/** Return the scope in which a setting must be written to take effect in this workspace. */
export function effectiveTarget(
  config: vscode.WorkspaceConfiguration,
  name: string,
): vscode.ConfigurationTarget {
  return config.inspect(name)?.workspaceValue === undefined
    ? vscode.ConfigurationTarget.Global
    : vscode.ConfigurationTarget.Workspace;
}
