// Which documents the server receives, given the URI schemes of the workspace folders. Pure.
import type { DocumentSelector } from "vscode-languageserver-protocol";

/** Return the selector of the documents that the client synchronizes with the server. */
export function documentSelector(workspaceSchemes: readonly string[]): DocumentSelector {
  const schemes = new Set(["file", "untitled", ...workspaceSchemes]);
  return [
    ...[...schemes].map((scheme) => ({ scheme })),
    { notebook: "jupyter-notebook", language: "python" },
  ];
}

/** Return a notice for users of a virtual workspace, undefined if the workspace is on a disk. */
export function virtualNotice(workspaceSchemes: readonly string[]): string | undefined {
  if (workspaceSchemes.length === 0 || workspaceSchemes.includes("file")) {
    return undefined;
  }
  return (
    "This workspace is not on a disk. Suggestions and chat use only open files. " +
    "StarCoder cannot write test files or read .gitignore here."
  );
}
