import { expect, test } from "vitest";
import { documentSelector, virtualNotice } from "../src/documents";

test("the selector covers files, new documents and notebooks, and virtual files if needed", () => {
  expect(documentSelector(["file"])).toEqual([
    { scheme: "file" },
    { scheme: "untitled" },
    { notebook: "jupyter-notebook", language: "python" },
  ]);
  expect(documentSelector(["vscode-vfs"])).toContainEqual({ scheme: "vscode-vfs" });
});

test("only a workspace without a disk gets a notice", () => {
  expect(virtualNotice(["vscode-vfs"])).toContain("not on a disk");
  expect(virtualNotice(["file"])).toBeUndefined();
  expect(virtualNotice(["vscode-vfs", "file"])).toBeUndefined();
  expect(virtualNotice([])).toBeUndefined();
});
