// Sends the diagnostics of open documents to the server, which adds those near the cursor to prompts.
import * as vscode from "vscode";
import type { LanguageClient } from "vscode-languageclient/node";
import type { Client } from "./client";
import * as protocol from "./protocol";

/** Diagnostics per document that are sent; the server uses those near the cursor. */
const MAX_COUNT = 200;

/** Send the diagnostics of each document when they change, when it is opened, and to a new server. */
export function sendDiagnostics(client: Client): vscode.Disposable {
  let last: LanguageClient | undefined;
  const sendAll = () => {
    if (client.isRunning && client.running !== last) {
      last = client.running;
      for (const { uri } of vscode.workspace.textDocuments) {
        send(client, uri);
      }
    }
  };
  return vscode.Disposable.from(
    vscode.languages.onDidChangeDiagnostics(({ uris }) => {
      for (const uri of uris) {
        send(client, uri, true);
      }
    }),
    // Later, because the server must know the document first.
    vscode.workspace.onDidOpenTextDocument(({ uri }) => setTimeout(() => send(client, uri))),
    client.onStatus(sendAll),
  );
}

/** Send the diagnostics of a document; an empty list only if it `mayBeEmpty`. */
function send(client: Client, uri: vscode.Uri, mayBeEmpty = false): void {
  const isOpen = vscode.workspace.textDocuments.some((open) => open.uri.toString() === `${uri}`);
  const all = isOpen ? vscode.languages.getDiagnostics(uri) : [];
  if (!client.isRunning || !isOpen || (all.length === 0 && !mayBeEmpty)) {
    return;
  }
  const { running } = client;
  const { asRange, asUri } = running.code2ProtocolConverter;
  const diagnostics = all
    .slice(0, MAX_COUNT)
    .map(({ range, message }) => ({ range: asRange(range), message }));
  // An older server does not have this request, which does no harm.
  running.sendRequest(protocol.diagnostics, { uri: asUri(uri), diagnostics }).catch(() => {});
}
