import { expect, test } from "vitest";
import { documentSelector, virtualNotice } from "../src/documents";

test("files, new documents and notebooks everywhere; virtual files where the workspace is of them", () => {
  const plain = documentSelector(["file"]);
  expect(plain).toEqual([
    { scheme: "file" },
    { scheme: "untitled" },
    { notebook: "jupyter-notebook", language: "python" },
  ]);
  expect(documentSelector(["vscode-vfs"])).toContainEqual({ scheme: "vscode-vfs" });
});

test("a workspace without a disk is told of, no other", () => {
  expect(virtualNotice(["vscode-vfs"])).toContain("not on a disk");
  expect(virtualNotice(["file"])).toBeUndefined();
  expect(virtualNotice(["vscode-vfs", "file"])).toBeUndefined();
  expect(virtualNotice([])).toBeUndefined();
});
