// How exactly the server that belongs to this extension is installed. Free of VS Code, so that it can
// be tested.
import { execFile } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import * as path from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

/** The server that belongs to this extension. `pin.mjs` writes it. */
export interface Pin {
  version: string;
  /** SHA-256 of the published wheel; undefined in an extension that was packaged in a clone. */
  sha256?: string | undefined;
  /** The folder of the clone; undefined in an extension that was packaged for a release. */
  clone?: string | undefined;
}

/** Read the pin of the server in the folder `dist` of the extension. */
export async function readPin(dist: string): Promise<Pin> {
  return JSON.parse(await readFile(path.join(dist, "server.json"), "utf-8"));
}

/** Return the line of a requirements file that accepts only the wheel of the release. */
export function requirement({ version, sha256, clone }: Pin): string {
  if (sha256 === undefined || !/^[0-9a-f]{64}$/.test(sha256)) {
    throw new Error(
      "this extension was not packaged for a release, so it cannot download a server. " +
        (clone === undefined
          ? "Install starcoder-lsp yourself, and choose its program"
          : `Run "make setup" in ${clone}, then restart the server`),
    );
  }
  return `starcoder-lsp==${version} --hash=sha256:${sha256}\n`;
}

/** Where the files are, and how progress is reported. */
export interface Installation {
  /** Folder with server.json and the lock files. */
  dist: string;
  /** Folder of the virtual environment; an older one there is replaced. */
  folder: string;
  isWindows: boolean;
  report: (message: string) => void;
  /** More arguments of pip. */
  pipArguments?: string[];
}

/** Install the server with the locked versions of all packages, and return its program. */
export async function installPinned(installation: Installation): Promise<string> {
  const { dist, folder, isWindows, report } = installation;
  const ownRequirement = requirement(await readPin(dist));
  report("creating a virtual environment");
  await run(isWindows ? "python" : "python3", ["-I", "-m", "venv", "--clear", folder]);
  const bin = path.join(folder, isWindows ? "Scripts" : "bin");
  const own = path.join(folder, "starcoder-lsp.lock");
  await writeFile(own, ownRequirement);
  const python = path.join(bin, "python");
  const pip = ["-I", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
  // The lock files name all packages: pip resolves nothing and builds nothing.
  const locked = ["--no-deps", "--require-hashes", "--only-binary", ":all:"];
  const lock = (name: string) =>
    run(python, [...pip, ...locked, ...(installation.pipArguments ?? []), "--requirement", name]);
  await lock(own);
  report("downloading packages (torch is the large one)");
  await lock(path.join(dist, "requirements.lock"));
  await lock(path.join(dist, "requirements-torch.lock"));
  if (await needsCuda(python, dist)) {
    await lock(path.join(dist, "requirements-cuda.lock"));
  }
  return path.join(bin, isWindows ? "starcoder-lsp.exe" : "starcoder-lsp");
}

async function needsCuda(python: string, dist: string): Promise<boolean> {
  return run(python, ["-I", path.join(dist, "needs_cuda.py")]).then(
    () => true,
    () => false,
  );
}
