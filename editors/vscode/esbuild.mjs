// Two bundles: the extension, for the extension host, and the chat, for its webview.
import { build } from "esbuild";

const shared = { bundle: true, minify: true, sourcemap: false, logLevel: "warning" };

await build({
  ...shared,
  entryPoints: ["src/extension.ts"],
  outfile: "dist/extension.js",
  platform: "node",
  format: "cjs",
  target: "node20",
  external: ["vscode"],
});
await build({
  ...shared,
  entryPoints: ["webview/chat.ts"],
  outfile: "dist/chat.js",
  platform: "browser",
  format: "iife",
  target: "es2022",
});
