// Lists the engine processes on this machine, and stops the one that the user chooses.
import * as vscode from "vscode";
import type { Client } from "./client";
import { engineItem } from "./engineItems";
import { withoutLinks } from "./notices";
import * as protocol from "./protocol";

/** Show the running engines. An engine that is stopped starts again with the next request. */
export async function showEngines(client: Client): Promise<void> {
  try {
    const engines = await client.running.sendRequest(protocol.engines, {});
    if (engines.length === 0) {
      void vscode.window.showInformationMessage("No engine runs on this machine.");
      return;
    }
    const items = engines.map((engine) => ({ ...engineItem(engine), pid: engine.pid }));
    const placeHolder = "Engine to stop, which frees its memory; the next request starts it again";
    const selected = await vscode.window.showQuickPick(items, { placeHolder });
    if (selected !== undefined) {
      await client.running.sendRequest(protocol.stopEngine, { pid: selected.pid });
      const message = `The engine of ${selected.label} has ended.`;
      void vscode.window.showInformationMessage(withoutLinks(message));
    }
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    void vscode.window.showWarningMessage(withoutLinks(message));
  }
}
