// Which command starts the server. Pure, so that the search order can be tested.
import * as path from "node:path";

export interface Environment {
  /** The setting `serverCommand`, empty by default. */
  setting: string[];
  /** Paths of the workspace folders. */
  folders: string[];
  /** The Python interpreter selected for the workspace, if an extension provides it. */
  interpreter?: string | undefined;
  /** The folders of PATH, in order. */
  path: string[];
  /** The user's home directory. */
  home: string;
  /** The clone in which the extension was packaged, if it was not packaged for a release. */
  clone?: string | undefined;
  isWindows: boolean;
  exists: (file: string) => boolean;
}

/** Return the server's command and arguments, undefined if the server is not installed. */
export function serverCommand(environment: Environment): string[] | undefined {
  const { setting, folders, interpreter, home, clone, isWindows, exists } = environment;
  if (setting.length > 0) {
    return setting;
  }
  const name = isWindows ? "starcoder-lsp.exe" : "starcoder-lsp";
  const bin = isWindows ? "Scripts" : "bin";
  const selected = interpreter === undefined ? [] : [path.dirname(interpreter)];
  const virtualEnvironments = folders.flatMap((folder) =>
    [".venv", "venv"].map((inner) => path.join(folder, inner, bin)),
  );
  // A relative entry of PATH could lead into the workspace.
  const absolutePath = environment.path.filter((folder) => path.isAbsolute(folder));
  // An editor that was started from a menu does not always have the PATH of a shell.
  const userPrograms = path.join(home, ".local", "bin");
  const cloned = clone === undefined ? [] : [path.join(clone, ".venv", bin)];
  const program = [...selected, ...virtualEnvironments, ...absolutePath, userPrograms, ...cloned]
    .map((folder) => path.join(folder, name))
    .find((file) => exists(file));
  return program === undefined ? undefined : [program];
}
