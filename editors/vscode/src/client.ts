// The language client: its start and restart, its settings, and the last status of the server.
import { existsSync } from "node:fs";
import { homedir } from "node:os";
import * as vscode from "vscode";
import { LanguageClient, State } from "vscode-languageclient/node";
import { documentSelector } from "./documents";
import { readPin } from "./pinnedServer";
import * as protocol from "./protocol";
import { SerialRunner } from "./serialRunner";
import { serverCommand } from "./serverCommand";
import { offerInstallation } from "./setup";

/** Settings that only this extension uses. They are not sent to the server. */
const CLIENT_SETTINGS = ["serverCommand"];

/** Requests that the model answers in the chat or with a task. */
const ANSWERS = [protocol.send.method, protocol.task.method];

/** Owns the connection to the server: at most one running language client. */
export class Client implements vscode.Disposable {
  private client: LanguageClient | undefined;
  private readonly runner = new SerialRunner(() => this.launch());
  private readonly statusEmitter = new vscode.EventEmitter<protocol.ServerStatus | undefined>();
  readonly onStatus = this.statusEmitter.event;
  readonly log = vscode.window.createOutputChannel("StarCoder", { log: true });
  status: protocol.ServerStatus | undefined;

  /**
   * `dist` is the folder with the pin of the server. `commands` are commands of the server that this
   * extension performs itself.
   */
  constructor(
    private readonly dist: string,
    private readonly commands: Record<string, (argument: unknown) => Promise<unknown>>,
  ) {}

  get isRunning(): boolean {
    return this.client?.state === State.Running;
  }

  /** The running client. Throws an error with a message for the user if it is not running. */
  get running(): LanguageClient {
    if (this.client === undefined || this.client.state !== State.Running) {
      throw new Error("The StarCoder server is not running.");
    }
    return this.client;
  }

  /** Start or restart the server. Concurrent calls never start two servers. */
  start(): Promise<void> {
    return this.runner.run();
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
      this.setError("The server is not installed.");
      void offerInstallation(this.dist);
      return;
    }
    this.log.info(`starting ${[program, ...args].join(" ")}`);
    const run = { command: program, args };
    this.client = new LanguageClient(
      "starcoder",
      "StarCoder",
      { run, debug: run },
      {
        documentSelector: documentSelector(workspaceSchemes()),
        initializationOptions: serverSettings(),
        outputChannel: this.log,
        middleware: {
          sendRequest: async (type, param, token, next) => {
            const result = await next(type, param, token);
            if (ANSWERS.includes(typeof type === "string" ? type : type.method)) {
              void setContext("hasAnswered", true);
            }
            return result;
          },
          executeCommand: (command, args, next) =>
            this.commands[command]?.(args[0]) ?? next(command, args),
          workspace: {
            configuration: async (params, token, next) => {
              const sections = await next(params, token);
              return Array.isArray(sections) ? sections.map(forServer) : sections;
            },
          },
        },
      },
    );
    this.client.onNotification(protocol.status, (status) => this.setStatus(status));
    this.client.onDidChangeState((change) => {
      const isRunning = change.newState === State.Running;
      void setContext("isRunning", isRunning);
      if (change.newState === State.Starting) {
        this.setStatus(undefined);
      } else if (isRunning) {
        this.statusEmitter.fire(this.status);
      } else if (this.client !== undefined) {
        this.setError("The server stopped. Open its log for the reason.");
      }
    });
    try {
      await this.client.start();
    } catch (error) {
      const message = `The server could not be started: ${String(error)}`;
      this.setError(message);
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
      // A client that never started throws here. That must not prevent the next start.
    }
  }

  private setError(message: string): void {
    this.setStatus({ ...protocol.NO_STATUS, state: "error", message });
  }

  private setStatus(status: protocol.ServerStatus | undefined): void {
    this.status = status;
    this.statusEmitter.fire(status);
  }

  /** Return the server's command and arguments, undefined if the server is not installed. */
  async command(): Promise<string[] | undefined> {
    const config = vscode.workspace.getConfiguration("starcoder");
    const trusted = vscode.workspace.isTrusted;
    const folders = trusted ? (vscode.workspace.workspaceFolders ?? []) : [];
    return serverCommand({
      setting: config.get<string[]>("serverCommand", []),
      folders: folders
        .filter((folder) => folder.uri.scheme === "file")
        .map((folder) => folder.uri.fsPath),
      interpreter: trusted ? await selectedInterpreter() : undefined,
      path: (process.env.PATH ?? "").split(process.platform === "win32" ? ";" : ":"),
      home: homedir(),
      clone: (await readPin(this.dist)).clone,
      isWindows: process.platform === "win32",
      exists: existsSync,
    });
  }
}

/** Set a context key, on which steps of the walkthrough depend. */
function setContext(name: string, value: boolean): Thenable<void> {
  return vscode.commands.executeCommand("setContext", `starcoder.${name}`, value);
}

/** Return the URI schemes of the workspace folders: `file`, or others for virtual workspaces. */
export function workspaceSchemes(): string[] {
  return (vscode.workspace.workspaceFolders ?? []).map((folder) => folder.uri.scheme);
}

/** Return the settings that are sent to the server. */
function serverSettings(): Record<string, unknown> {
  const all = vscode.workspace.getConfiguration().get<Record<string, unknown>>("starcoder", {});
  return forServer(all);
}

function forServer(section: unknown): Record<string, unknown> {
  const entries = Object.entries((section ?? {}) as Record<string, unknown>);
  const settings = Object.fromEntries(entries.filter(([key]) => !CLIENT_SETTINGS.includes(key)));
  return vscode.workspace.isTrusted ? settings : { ...settings, git: false, runTests: "never" };
}

/** Return the interpreter selected in the Python extension, undefined without that extension. */
async function selectedInterpreter(): Promise<string | undefined> {
  const python = vscode.extensions.getExtension("ms-python.python");
  if (python === undefined) {
    return undefined;
  }
  try {
    const api = await python.activate();
    const environment = api?.environments?.getActiveEnvironmentPath?.();
    return typeof environment?.path === "string" ? environment.path : undefined;
  } catch {
    return undefined;
  }
}
