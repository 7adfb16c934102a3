// Which documents the server sees, by the schemes of the workspace's folders: pure.
import type { DocumentSelector } from "vscode-languageserver-protocol";

/** Return what the server is told of: files, new documents, notebooks, and virtual files. */
export function documentSelector(schemes: readonly string[]): DocumentSelector {
  const all = new Set(["file", "untitled", ...schemes]);
  return [
    ...[...all].map((scheme) => ({ scheme })),
    { notebook: "jupyter-notebook", language: "python" },
  ];
}

/** Return what to tell the user of a workspace that is not on a disk, undefined where it is. */
export function virtualNotice(schemes: readonly string[]): string | undefined {
  if (schemes.length === 0 || schemes.includes("file")) {
    return undefined;
  }
  return (
    "This workspace is not on a disk. Suggestions and chat see the files that are open; " +
    "StarCoder writes no test files here, and looks into no .gitignore."
  );
}
