// The models that the extension offers, and how a choice is stored. Pure.
import { formatBytes } from "./format";

export type ModelSetting = "model" | "chatModel";

/** An entry of the menu; a separator has no value and cannot be chosen. */
export interface ModelItem {
  label: string;
  description: string;
  /** Value of the setting; undefined asks the user for it. */
  value: string | undefined;
  isSeparator?: boolean;
}

/** A model on this machine, as `starcoder-lsp models --json` prints it. */
export interface ModelOnDisk {
  name: string;
  /** Why `auto` would select it or not, or why it cannot be used. */
  reason: string;
  /** Undefined if the model cannot be used. */
  bytes?: number;
  /** Whether it can fill in the middle. Without this it suits chat. */
  fim?: boolean;
  /** Whether `auto` selects it. */
  auto?: boolean;
}

/** Value of `chatModel` with which the model of completions also serves the chat. */
export const SAME_MODEL = "";

/** Models to download: what they are, and the gigabytes of their files on the hub. */
const DOWNLOADS: Record<ModelSetting, [value: string, description: string, gigabytes: number][]> = {
  model: [
    ["bigcode/tiny_starcoder_py", "164M, Python only; fast enough on a CPU", 0.7],
    ["Qwen/Qwen2.5-Coder-0.5B", "494M; fast enough on a CPU in int8", 1],
    ["bigcode/starcoder2-3b", "3B; needs a GPU with 8 GB", 12],
    ["Qwen/Qwen2.5-Coder-7B", "7.6B; needs a GPU with 20 GB", 15],
    ["bigcode/starcoderbase-1b", "1.1B, gated: accept its licence on the hub first", 4.5],
    ["bigcode/starcoder", "15.5B, gated; needs a GPU with 40 GB", 63],
  ],
  chatModel: [
    ["Qwen/Qwen2.5-Coder-0.5B-Instruct", "494M, for a CPU", 1],
    ["Qwen/Qwen2.5-Coder-1.5B-Instruct", "1.5B, for a CPU or a small GPU", 3.1],
    ["Qwen/Qwen2.5-Coder-7B-Instruct", "7.6B; needs a GPU with 20 GB", 15],
    ["HuggingFaceH4/starchat-beta", "15.5B; needs a GPU with 40 GB", 31],
  ],
};

/**
 * Return the items to choose from.
 *
 * `current` is the value of the setting. `onDisk` are the models on this machine, undefined while
 * they are not known.
 */
export function modelItems(
  setting: ModelSetting,
  current: string,
  engineUrl: string,
  onDisk?: readonly ModelOnDisk[],
): ModelItem[] {
  // A server elsewhere has its own models and names.
  const isRemote = setting === "chatModel" && engineUrl !== "";
  const items = [
    ...specialItems(setting, onDisk),
    ...(isRemote ? [] : downloadItems(setting, onDisk)),
    {
      label: "Another…",
      description: isRemote
        ? `a name that ${engineUrl} serves`
        : "a hub id, a folder or a GGUF file",
      value: undefined,
    },
    ...(isRemote ? [] : diskItems(setting, onDisk ?? [])),
  ];
  if (current !== "" && !items.some(({ value }) => value === current)) {
    items.unshift({ label: current, description: "", value: current });
  }
  return items.map((item) =>
    item.value === current
      ? { ...item, description: [item.description, "in use"].filter(Boolean).join("; ") }
      : item,
  );
}

function specialItems(setting: ModelSetting, onDisk?: readonly ModelOnDisk[]): ModelItem[] {
  if (setting === "chatModel") {
    const description = "one model for both";
    return [{ label: "The model for completions", description, value: SAME_MODEL }];
  }
  const selected = onDisk?.find(({ auto }) => auto)?.name;
  const now = selected === undefined ? "" : `, now ${selected}`;
  return [
    {
      label: "auto",
      description: `the largest on disk that can fill in the middle and fits${now}`,
      value: "auto",
    },
    { label: "demo", description: "the embedded demo model, to try StarCoder", value: "demo" },
  ];
}

function downloadItems(setting: ModelSetting, onDisk?: readonly ModelOnDisk[]): ModelItem[] {
  return DOWNLOADS[setting].map(([value, description, gigabytes]) => {
    const isHere = onDisk?.some(({ name, bytes }) => name === value && bytes !== undefined);
    const source = isHere ? "on this machine" : `download of about ${gigabytes} GB`;
    return { label: value, description: `${description}; ${source}`, value };
  });
}

/** Return the other models on this machine, the largest first. */
function diskItems(setting: ModelSetting, onDisk: readonly ModelOnDisk[]): ModelItem[] {
  const listed = new Set(["demo", ...DOWNLOADS[setting].map(([value]) => value)]);
  const others = onDisk.filter(({ name, bytes }) => bytes !== undefined && !listed.has(name));
  const items = others
    .sort((left, right) => (right.bytes ?? 0) - (left.bytes ?? 0))
    .map(({ name, bytes, fim }) => ({
      label: name,
      description: [
        formatBytes(bytes ?? 0),
        fim || setting === "chatModel" ? "" : "for chat: completes left to right only",
      ]
        .filter(Boolean)
        .join("; "),
      value: name,
    }));
  const separator = { label: "On this machine", description: "", value: undefined };
  return items.length === 0 ? [] : [{ ...separator, isSeparator: true }, ...items];
}

/** Return the models in the output of `starcoder-lsp models --json`; none if it is something else. */
export function parseModels(output: string): ModelOnDisk[] {
  try {
    const parsed: unknown = JSON.parse(output);
    const isModel = (value: unknown): value is ModelOnDisk =>
      typeof (value as ModelOnDisk | null)?.name === "string";
    return Array.isArray(parsed) ? parsed.filter(isModel) : [];
  } catch {
    return [];
  }
}

/**
 * Return the value to write, undefined to remove the setting.
 *
 * In the scope of a workspace the empty value must be written, because without it the user's own
 * value would apply.
 */
export function valueToWrite(name: string, isInWorkspace: boolean): string | undefined {
  return name === SAME_MODEL && !isInWorkspace ? undefined : name;
}
