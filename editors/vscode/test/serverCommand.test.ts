import { expect, test } from "vitest";
import { type Environment, serverCommand } from "../src/serverCommand";

function environment(files: string[], changes: Partial<Environment> = {}): Environment {
  return {
    setting: [],
    folders: ["/w"],
    path: ["/usr/bin", "/home/me/bin"],
    home: "/home/me",
    isWindows: false,
    exists: (file) => files.includes(file),
    ...changes,
  };
}

test("the setting takes precedence over everything else", () => {
  const setting = ["python", "-m", "lsp_server"];
  expect(serverCommand(environment(["/usr/bin/starcoder-lsp"], { setting }))).toEqual(setting);
});

test("the selected Python precedes the workspace's environment, which precedes the PATH", () => {
  const all = ["/py/bin/starcoder-lsp", "/w/.venv/bin/starcoder-lsp", "/usr/bin/starcoder-lsp"];
  const selected = { interpreter: "/py/bin/python" };
  expect(serverCommand(environment(all, selected))).toEqual(["/py/bin/starcoder-lsp"]);
  expect(serverCommand(environment(all))).toEqual(["/w/.venv/bin/starcoder-lsp"]);
  expect(serverCommand(environment(all.slice(2), selected))).toEqual(["/usr/bin/starcoder-lsp"]);
});

test("a relative entry of the PATH is skipped, because it could lead into the workspace", () => {
  const path = ["", ".", "bin", "/usr/bin"];
  const exists = () => true;
  expect(serverCommand(environment([], { folders: [], path, exists }))).toEqual([
    "/usr/bin/starcoder-lsp",
  ]);
});

test("the user's own programs are found without a PATH, and the clone's server comes last", () => {
  const all = ["/usr/bin", "/home/me/.local/bin", "/clone/.venv/bin"].map(
    (folder) => `${folder}/starcoder-lsp`,
  );
  const clone = { clone: "/clone" };
  for (const [index, program] of all.entries()) {
    expect(serverCommand(environment(all.slice(index), clone))).toEqual([program]);
  }
  expect(serverCommand(environment(all.slice(2)))).toBeUndefined();
  const windows = ["/clone/.venv/Scripts/starcoder-lsp.exe"];
  expect(serverCommand(environment(windows, { ...clone, isWindows: true }))).toEqual(windows);
});

test("there is no command if the server is not installed", () => {
  expect(serverCommand(environment([]))).toBeUndefined();
});
