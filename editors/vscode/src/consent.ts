// The user's consent to run generated code. The server asks for it and remembers the answer.
import { ExecuteCommandRequest } from "vscode-languageclient/node";
import type { Client } from "./client";

/** Have the server forget the answers for this workspace; it shows the result. */
export async function forgetConsent(client: Client): Promise<void> {
  await client.running.sendRequest(ExecuteCommandRequest.type, {
    command: "starcoder.forgetConsent",
  });
}
