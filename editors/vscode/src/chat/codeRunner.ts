// Runs code blocks of answers: one request for each, which Stop cancels.
import * as vscode from "vscode";
import type { Client } from "../client";
import * as protocol from "../protocol";
import type { BlockOfAnswer, ToWebview } from "./messages";

export class CodeRunner implements vscode.Disposable {
  private readonly running = new Map<string, vscode.CancellationTokenSource>();

  constructor(
    private readonly client: Client,
    private readonly post: (message: ToWebview) => void,
  ) {}

  dispose(): void {
    for (const source of this.running.values()) {
      source.cancel();
    }
  }

  /** Run a block of the open conversation, and show below it what came out. */
  async run(
    conversation: string | undefined,
    { turn, block }: BlockOfAnswer,
    text: string,
    uri: string | undefined,
  ): Promise<void> {
    const key = keyOf({ turn, block });
    if (conversation === undefined || this.running.has(key)) {
      return;
    }
    const source = new vscode.CancellationTokenSource();
    this.running.set(key, source);
    let run: protocol.CodeRun | null = null;
    let problem = "";
    try {
      const params = { conversation, turn, block, text, ...(uri === undefined ? {} : { uri }) };
      run = await this.client.running.sendRequest(protocol.runCode, params, source.token);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      problem = source.token.isCancellationRequested ? "Stopped." : message;
    } finally {
      this.running.delete(key);
      source.dispose();
    }
    this.post({ type: "ran", turn, block, run, problem });
  }

  stop(block: BlockOfAnswer): void {
    this.running.get(keyOf(block))?.cancel();
  }
}

function keyOf({ turn, block }: BlockOfAnswer): string {
  return `${turn}:${block}`;
}
