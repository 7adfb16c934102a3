import { expect, test } from "vitest";
import { type Surroundings, serverCommand } from "../src/serverCommand";

function around(found: string[], changes: Partial<Surroundings> = {}): Surroundings {
  return {
    setting: [],
    folders: ["/w"],
    path: ["/usr/bin", "/home/me/bin"],
    windows: false,
    exists: (file) => found.includes(file),
    ...changes,
  };
}

test("the setting goes before all else", () => {
  const found = around(["/usr/bin/starcoder-lsp"], { setting: ["python", "-m", "lsp_server"] });
  expect(serverCommand(found)).toEqual(["python", "-m", "lsp_server"]);
});

test("the chosen Python goes before the workspace's environment, that before the PATH", () => {
  const all = ["/py/bin/starcoder-lsp", "/w/.venv/bin/starcoder-lsp", "/usr/bin/starcoder-lsp"];
  const chosen = { interpreter: "/py/bin/python" };
  expect(serverCommand(around(all, chosen))).toEqual(["/py/bin/starcoder-lsp"]);
  expect(serverCommand(around(all))).toEqual(["/w/.venv/bin/starcoder-lsp"]);
  expect(serverCommand(around(all.slice(2), chosen))).toEqual(["/usr/bin/starcoder-lsp"]);
});

test("where there is none, there is none", () => {
  expect(serverCommand(around([]))).toBeUndefined();
});
