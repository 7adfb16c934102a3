import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { installPinned, requirement } from "../src/pinnedServer";

let scratch: string;
let wheels: string;
let dist: string;

beforeEach(() => {
  scratch = mkdtempSync(path.join(tmpdir(), "starcoder-install-"));
  wheels = path.join(scratch, "wheels");
  dist = path.join(scratch, "dist");
  mkdirSync(wheels);
  mkdirSync(dist);
  for (const name of ["requirements.lock", "requirements-torch.lock", "requirements-cuda.lock"]) {
    writeFileSync(path.join(dist, name), "# nothing\n");
  }
  writeFileSync(path.join(dist, "needs_cuda.py"), "raise SystemExit(1)\n");
});

afterEach(() => rmSync(scratch, { recursive: true }));

const MAKE_WHEEL = `
import sys, zipfile
folder, name, version, text = sys.argv[1:]
info = f"{name}-{version}.dist-info"
with zipfile.ZipFile(f"{folder}/{name}-{version}-py3-none-any.whl", "w") as wheel:
    wheel.writestr(f"{name}_module.py", f"def main(): print({text!r})\\n")
    wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n")
    wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
    script = name.replace("_", "-")
    wheel.writestr(f"{info}/entry_points.txt", f"[console_scripts]\\n{script} = {name}_module:main\\n")
    wheel.writestr(f"{info}/RECORD", "")
`;

/** Put a small wheel into the folder that stands for the registry, and return its hash. */
function publish(name: string, version: string, text: string): string {
  execFileSync("python3", ["-c", MAKE_WHEEL, wheels, name, version, text]);
  const file = path.join(wheels, `${name}-${version}-py3-none-any.whl`);
  return createHash("sha256").update(readFileSync(file)).digest("hex");
}

function pin(version: string, sha256: string | undefined): void {
  writeFileSync(path.join(dist, "server.json"), JSON.stringify({ version, sha256 }));
}

function install(): Promise<string> {
  return installPinned({
    dist,
    folder: path.join(scratch, "server"),
    isWindows: false,
    report: () => {},
    pipArguments: ["--no-index", "--find-links", wheels],
  });
}

test("exactly the pinned version is installed, not the newest", { timeout: 180_000 }, async () => {
  const sha256 = publish("starcoder_lsp", "0.1.0", "pinned");
  publish("starcoder_lsp", "9.0.0", "newest");
  pin("0.1.0", sha256);
  const program = await install();
  expect(execFileSync(program, { encoding: "utf-8" })).toBe("pinned\n");
  // A second time: the old environment is replaced, with all that was in it.
  const left = path.join(scratch, "server", "left");
  writeFileSync(left, "");
  expect(await install()).toBe(program);
  expect(existsSync(left)).toBe(false);
});

test("a wheel with another hash is rejected", { timeout: 180_000 }, async () => {
  const sha256 = publish("starcoder_lsp", "0.1.0", "as published");
  publish("starcoder_lsp", "0.1.0", "exchanged");
  pin("0.1.0", sha256);
  await expect(install()).rejects.toThrow(/HASHES|hashes/);
  expect(existsSync(path.join(scratch, "server", "bin", "starcoder-lsp"))).toBe(false);
});

test("a dependency without its hash is rejected", { timeout: 180_000 }, async () => {
  pin("0.1.0", publish("starcoder_lsp", "0.1.0", "pinned"));
  publish("helper", "1.0", "helper");
  writeFileSync(path.join(dist, "requirements.lock"), "helper==1.0\n");
  await expect(install()).rejects.toThrow(/hash/i);
});

test("CUDA's packages are installed only for a build of torch that needs them", {
  timeout: 180_000,
}, async () => {
  pin("0.1.0", publish("starcoder_lsp", "0.1.0", "pinned"));
  const hash = publish("cuda_helper", "1.0", "cuda");
  writeFileSync(
    path.join(dist, "requirements-cuda.lock"),
    `cuda-helper==1.0 --hash=sha256:${hash}\n`,
  );
  const program = path.join(path.dirname(await install()), "cuda-helper");
  expect(existsSync(program)).toBe(false);
  writeFileSync(path.join(dist, "needs_cuda.py"), "raise SystemExit(0)\n");
  await install();
  expect(existsSync(program)).toBe(true);
});

test("without a hash nothing is installed", async () => {
  for (const sha256 of [undefined, "", "abc", `${"0".repeat(63)}g`]) {
    expect(() => requirement({ version: "1.0", sha256 })).toThrow(/choose its program/);
    expect(() => requirement({ version: "1.0", sha256, clone: "/c" })).toThrow(/setup" in \/c,/);
  }
  pin("0.1.0", undefined);
  await expect(install()).rejects.toThrow(/choose its program/);
  expect(existsSync(path.join(scratch, "server"))).toBe(false);
});

test("packaging writes the hash of the release's wheel, or the clone without one", () => {
  const root = path.join(scratch, "root");
  const extension = path.join(root, "editors", "vscode");
  mkdirSync(extension, { recursive: true });
  mkdirSync(path.join(root, ".ci"));
  for (const name of ["requirements.lock", "requirements-torch.lock", "requirements-cuda.lock"]) {
    writeFileSync(path.join(root, name), name);
  }
  writeFileSync(path.join(root, ".ci", "needs_cuda.py"), "");
  writeFileSync(path.join(extension, "package.json"), JSON.stringify({ version: "0.1.0" }));
  const sha256 = publish("starcoder_lsp", "0.1.0", "pinned");
  const packaged = (wheel: string) => {
    const environment = { ...process.env, STARCODER_WHEEL: wheel };
    const options = { cwd: extension, env: environment, stdio: "pipe" as const };
    execFileSync("node", [path.join(__dirname, "..", "pin.mjs")], options);
    return JSON.parse(readFileSync(path.join(extension, "dist", "server.json"), "utf-8"));
  };
  expect(packaged("")).toEqual({ version: "0.1.0", clone: realpathSync(root) });
  const wheel = path.join(wheels, "starcoder_lsp-0.1.0-py3-none-any.whl");
  expect(packaged(wheel)).toEqual({ version: "0.1.0", sha256 });
  expect(readFileSync(path.join(extension, "dist", "requirements.lock"), "utf-8")).toBe(
    "requirements.lock",
  );
  publish("starcoder_lsp", "0.2.0", "another");
  expect(() => packaged(wheel.replace("0.1.0", "0.2.0"))).toThrow();
});
