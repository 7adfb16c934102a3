// The webview's HTML page. Its security policy allows only the scripts and styles of this extension,
// and pictures that are in the page itself: figures of code that was run.
import { randomBytes } from "node:crypto";
import * as vscode from "vscode";

/** Return the HTML of the chat's page. */
export function page(webview: vscode.Webview, extension: vscode.Uri): string {
  const nonce = randomBytes(16).toString("hex");
  const file = (...names: string[]) =>
    webview.asWebviewUri(vscode.Uri.joinPath(extension, ...names)).toString();
  const policy = [
    "default-src 'none'",
    `style-src ${webview.cspSource}`,
    "img-src data:",
    `script-src 'nonce-${nonce}'`,
    "base-uri 'none'",
    "form-action 'none'",
  ].join("; ");
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="${file("media", "chat.css")}">
<title>StarCoder</title>
</head>
<body>
<header>
  <button id="new" title="New conversation">New</button>
  <button id="history" title="Earlier conversations" aria-expanded="false" aria-controls="past">History</button>
  <button id="export" title="Open as markdown">Export</button>
</header>
<nav id="past" hidden aria-label="Earlier conversations">
  <input id="search" type="search" placeholder="Search titles and messages" aria-label="Search earlier conversations">
  <div id="list"></div>
</nav>
<div id="server" role="status" hidden><span></span> <button type="button" id="start">Start the server</button></div>
<main>
  <h1 class="visually-hidden">StarCoder chat</h1>
  <div id="log" role="log" aria-live="polite" aria-label="Conversation" tabindex="0"></div>
</main>
<div id="note" role="status" aria-live="polite"></div>
<form id="form" aria-label="Ask">
  <div id="chips" role="group" aria-label="Attached"></div>
  <div id="size" role="status"></div>
  <textarea id="input" rows="3" placeholder="Ask, or / for commands" aria-label="Message"></textarea>
  <div class="row">
    <button type="button" id="selection" title="Attach the selection">+ selection</button>
    <button type="button" id="file" title="Attach a file">@ file</button>
    <span class="space"></span>
    <button type="button" id="retry" title="Answer the last message again">Retry</button>
    <button type="button" id="stop" hidden>Stop</button>
    <button type="submit" id="send" class="primary">Send</button>
  </div>
  <div id="model"><span></span> <button type="button" id="choose" hidden>Choose a chat model</button></div>
</form>
<script nonce="${nonce}" src="${file("dist", "chat.js")}"></script>
</body>
</html>`;
}
