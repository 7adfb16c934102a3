// The language client: started, stopped, started anew; its settings and its status.
import { existsSync } from "node:fs";
import * as vscode from "vscode";
import { LanguageClient, State } from "vscode-languageclient/node";
import { documentSelector } from "./documents";
import * as protocol from "./protocol";
import { serverCommand } from "./serverCommand";
import { Turns } from "./turns";

/** Settings of this extension that the server does not know. */
const OWN_SETTINGS = ["serverCommand"];

export class Client implements vscode.Disposable {
  private client: LanguageClient | undefined;
  private readonly turns = new Turns(() => this.launch());
  private readonly statusEmitter = new vscode.EventEmitter<protocol.ServerStatus | undefined>();
  readonly onStatus = this.statusEmitter.event;
  readonly log = vscode.window.createOutputChannel("StarCoder", { log: true });
  status: protocol.ServerStatus | undefined;

  /** Return the running client; raises an error in words for the user where there is none. */
  get running(): LanguageClient {
    if (this.client === undefined || this.client.state !== State.Running) {
      throw new Error("The StarCoder server is not running.");
    }
    return this.client;
  }

  /** Start the server, or start it anew where it runs: one at a time, whoever asks. */
  start(): Promise<void> {
    return this.turns.run();
  }

  dispose(): void {
    void this.stop();
    this.statusEmitter.dispose();
    this.log.dispose();
  }

  private async launch(): Promise<void> {
    await this.stop();
    const command = await this.command();
    const [program, ...args] = command ?? [];
    if (program === undefined) {
      this.failed("The server is not installed.");
      void offerInstallation();
      return;
    }
    this.log.info(`starting ${[program, ...args].join(" ")}`);
    const run = { command: program, args };
    this.client = new LanguageClient(
      "starcoder",
      "StarCoder",
      { run, debug: run },
      {
        documentSelector: documentSelector(schemes()),
        initializationOptions: settings(),
        outputChannel: this.log,
        middleware: {
          workspace: {
            configuration: async (params, token, next) => {
              const found = await next(params, token);
              return Array.isArray(found) ? found.map(withoutOwn) : found;
            },
          },
        },
      },
    );
    this.client.onNotification(protocol.status, (status) => this.tell(status));
    this.client.onDidChangeState((change) => {
      if (change.newState === State.Starting) {
        this.tell(undefined);
      } else if (change.newState !== State.Running && this.client !== undefined) {
        this.failed("The server stopped; its log says why.");
      }
    });
    try {
      await this.client.start();
    } catch (error) {
      const message = `The server could not be started: ${String(error)}`;
      this.failed(message);
      void vscode.window.showErrorMessage(message, "Open Log").then((choice) => {
        if (choice !== undefined) {
          this.log.show();
        }
      });
    }
  }

  private async stop(): Promise<void> {
    const client = this.client;
    this.client = undefined;
    try {
      await client?.dispose();
    } catch {
      // One that never came to run refuses to be stopped; that is no reason to start no other.
    }
  }

  private failed(message: string): void {
    this.tell({ ...protocol.NO_STATUS, state: "error", message });
  }

  private tell(status: protocol.ServerStatus | undefined): void {
    this.status = status;
    this.statusEmitter.fire(status);
  }

  private async command(): Promise<string[] | undefined> {
    const config = vscode.workspace.getConfiguration("starcoder");
    const trusted = vscode.workspace.isTrusted;
    const folders = trusted ? (vscode.workspace.workspaceFolders ?? []) : [];
    return serverCommand({
      setting: config.get<string[]>("serverCommand", []),
      folders: folders.filter((one) => one.uri.scheme === "file").map((one) => one.uri.fsPath),
      interpreter: trusted ? await chosenInterpreter() : undefined,
      path: (process.env.PATH ?? "").split(process.platform === "win32" ? ";" : ":"),
      windows: process.platform === "win32",
      exists: existsSync,
    });
  }
}

/** Return the schemes of the workspace's folders: `file`, or others where they are virtual. */
export function schemes(): string[] {
  return (vscode.workspace.workspaceFolders ?? []).map((one) => one.uri.scheme);
}

/** Return the settings that the server knows. */
function settings(): Record<string, unknown> {
  const all = vscode.workspace.getConfiguration().get<Record<string, unknown>>("starcoder", {});
  return withoutOwn(all);
}

function withoutOwn(found: unknown): Record<string, unknown> {
  const entries = Object.entries((found ?? {}) as Record<string, unknown>);
  return Object.fromEntries(entries.filter(([key]) => !OWN_SETTINGS.includes(key)));
}

/** Return the Python that the user chose, where the Python extension is there to be asked. */
async function chosenInterpreter(): Promise<string | undefined> {
  const python = vscode.extensions.getExtension("ms-python.python");
  if (python === undefined) {
    return undefined;
  }
  try {
    const api = await python.activate();
    const found = api?.environments?.getActiveEnvironmentPath?.();
    return typeof found?.path === "string" ? found.path : undefined;
  } catch {
    return undefined;
  }
}

async function offerInstallation(): Promise<void> {
  const choice = await vscode.window.showWarningMessage(
    "StarCoder needs its server, a Python package, and did not find it.",
    "Install",
    "How to",
  );
  if (choice === "Install") {
    await vscode.commands.executeCommand("starcoder.install");
  } else if (choice === "How to") {
    await vscode.commands.executeCommand(
      "workbench.action.openWalkthrough",
      "starcoder-lsp.starcoder#start",
    );
  }
}
