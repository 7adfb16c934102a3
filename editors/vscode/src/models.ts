// The models that the extension offers, and how a choice is stored. Pure.

export type ModelSetting = "model" | "chatModel";

export interface ModelItem {
  label: string;
  description: string;
  /** Value of the setting; undefined asks the user for it. */
  value: string | undefined;
}

/** Value of `chatModel` with which the model of completions also serves the chat. */
export const SAME_MODEL = "";

const MODELS: Record<ModelSetting, [value: string, description: string][]> = {
  model: [
    ["auto", "the largest StarCoder on disk that fits this machine"],
    ["demo", "the embedded demo model, to try StarCoder"],
    ["bigcode/tiny_starcoder_py", "164M, Python only; fast enough on a CPU"],
    ["bigcode/starcoderbase-1b", "gated; accept its licence on the hub first"],
    ["bigcode/starcoderbase-7b", "gated; needs a GPU with 16 GB"],
    ["bigcode/starcoder", "15.5B, gated; needs a GPU with 40 GB"],
  ],
  chatModel: [
    ["Qwen/Qwen2.5-Coder-0.5B-Instruct", "494M, for a CPU"],
    ["Qwen/Qwen2.5-Coder-1.5B-Instruct", "1.5B, for a CPU or a small GPU"],
    ["Qwen/Qwen2.5-Coder-7B-Instruct", "7.6B; needs a GPU with 20 GB"],
    ["HuggingFaceH4/starchat-beta", "15.5B; needs a GPU with 40 GB"],
  ],
};

/** Return the items to choose from. `current` is the value of the setting. */
export function modelItems(setting: ModelSetting, current: string, engineUrl: string): ModelItem[] {
  const isRemote = setting === "chatModel" && engineUrl !== "";
  const items: ModelItem[] = [
    // A server elsewhere has its own models and names.
    ...(isRemote ? [] : MODELS[setting]).map(([value, description]) => ({
      label: value,
      description,
      value,
    })),
    {
      label: "Another…",
      description: isRemote
        ? `a name that ${engineUrl} serves`
        : "a hub id, a folder or a GGUF file",
      value: undefined,
    },
  ];
  if (setting === "chatModel") {
    items.unshift({
      label: "The model for completions",
      description: "one model for both",
      value: SAME_MODEL,
    });
  }
  if (current !== "" && !items.some(({ value }) => value === current)) {
    items.unshift({ label: current, description: "", value: current });
  }
  return items.map((item) =>
    item.value === current
      ? { ...item, description: [item.description, "in use"].filter(Boolean).join("; ") }
      : item,
  );
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
