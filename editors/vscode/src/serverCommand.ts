// Which command starts the server: pure, so that its order can be tested.
import * as path from "node:path";

export interface Surroundings {
  /** The setting; empty if the user named none. */
  setting: string[];
  /** Folders of the workspace. */
  folders: string[];
  /** The Python that the user chose for the workspace, if some extension knows it. */
  interpreter?: string | undefined;
  /** PATH, in its own order. */
  path: string[];
  windows: boolean;
  exists: (file: string) => boolean;
}

/** Return the server's command and arguments, undefined where there is none. */
export function serverCommand(around: Surroundings): string[] | undefined {
  if (around.setting.length > 0) {
    return around.setting;
  }
  const name = around.windows ? "starcoder-lsp.exe" : "starcoder-lsp";
  const bin = around.windows ? "Scripts" : "bin";
  const chosen = around.interpreter === undefined ? [] : [path.dirname(around.interpreter)];
  const environments = around.folders.flatMap((folder) =>
    [".venv", "venv"].map((inner) => path.join(folder, inner, bin)),
  );
  const found = [...chosen, ...environments, ...around.path]
    .map((folder) => path.join(folder, name))
    .find((file) => around.exists(file));
  return found === undefined ? undefined : [found];
}
