// Writes what "Install the Server" installs to dist: the lock files, and the version and hash of the
// server's wheel. The release builds the wheel first and names it in STARCODER_WHEEL. Without a wheel
// there is no hash, and the extension uses the server of the clone in which it is packaged.
import { createHash } from "node:crypto";
import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { basename, resolve } from "node:path";

const root = "../../";
const { version } = JSON.parse(await readFile("package.json", "utf-8"));
const pin = { version };
const wheel = process.env.STARCODER_WHEEL;
if (wheel) {
  if (!basename(wheel).startsWith(`starcoder_lsp-${version}-`)) {
    throw new Error(`${wheel} is not version ${version} of the server, as package.json says`);
  }
  pin.sha256 = createHash("sha256")
    .update(await readFile(wheel))
    .digest("hex");
} else {
  pin.clone = resolve(root);
}
await mkdir("dist", { recursive: true });
await writeFile("dist/server.json", `${JSON.stringify(pin)}\n`);
for (const name of ["requirements.lock", "requirements-torch.lock", "requirements-cuda.lock"]) {
  await copyFile(root + name, `dist/${name}`);
}
await copyFile(`${root}.ci/needs_cuda.py`, "dist/needs_cuda.py");
