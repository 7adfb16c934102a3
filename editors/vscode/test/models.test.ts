import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import {
  type ModelSetting,
  modelItems,
  parseModels,
  SAME_MODEL,
  valueToWrite,
} from "../src/models";

const manifest = JSON.parse(readFileSync("package.json", "utf8"));
const SETTINGS = manifest.contributes.configuration.properties;

const values = (setting: ModelSetting, current: string, engineUrl = "") =>
  modelItems(setting, current, engineUrl).map(({ value }) => value);

test("the chat can go back to the model for completions", () => {
  expect(values("chatModel", "HuggingFaceH4/starchat-beta")[0]).toBe(SAME_MODEL);
  expect(values("model", "auto")).not.toContain(SAME_MODEL);
  expect(SETTINGS["starcoder.chatModel"].default).toBe(SAME_MODEL);
});

test("the default and any other model can be chosen for completions", () => {
  expect(values("model", "demo")).toContain(SETTINGS["starcoder.model"].default);
  for (const setting of ["model", "chatModel"] as const) {
    expect(values(setting, "").at(-1)).toBeUndefined();
    expect(modelItems(setting, "", "").every(({ label }) => label !== "")).toBe(true);
  }
});

test("exactly the model in use is marked, also one that is not in the list", () => {
  for (const [setting, current] of [
    ["model", "demo"],
    ["model", "/models/own.gguf"],
    ["chatModel", SAME_MODEL],
    ["chatModel", "HuggingFaceH4/starchat-beta"],
    ["chatModel", "me/own-chat"],
  ] as const) {
    const items = modelItems(setting, current, "");
    const marked = items.filter(({ description }) => description.endsWith("in use"));
    expect(marked.map(({ value }) => value)).toEqual([current]);
    expect(new Set(items.map(({ label }) => label)).size).toBe(items.length);
  }
});

test("the chat model of a server elsewhere is one of its own names", () => {
  const url = "http://gpu:8000";
  expect(values("chatModel", SAME_MODEL, url)).toEqual([SAME_MODEL, undefined]);
  expect(values("chatModel", "served", url)).toEqual(["served", SAME_MODEL, undefined]);
  expect(modelItems("chatModel", "", url).at(-1)?.description).toContain(url);
  expect(values("model", "auto", url)).toContain("demo");
  expect(modelItems("model", "auto", url).at(-1)?.description).not.toContain(url);
});

test("the user's setting is removed, and a workspace overrides it", () => {
  expect(valueToWrite(SAME_MODEL, false)).toBeUndefined();
  expect(valueToWrite(SAME_MODEL, true)).toBe(SAME_MODEL);
  expect(valueToWrite("demo", false)).toBe("demo");
  expect(valueToWrite("demo", true)).toBe("demo");
});

const ON_DISK = [
  { name: "demo", reason: "always fits", bytes: 18_732_888, fim: true, auto: false },
  { name: "bigcode/starcoder2-3b", reason: "fits", bytes: 12e9, fim: true, auto: true },
  { name: "org/instruct", reason: "left to right", bytes: 3e9, fim: false, auto: false },
  { name: "org/large", reason: "fits", bytes: 9e9, fim: true, auto: false },
  { name: "org/broken", reason: "no weights" },
];
const described = (setting: ModelSetting, name: string, onDisk = ON_DISK) =>
  modelItems(setting, "auto", "", onDisk).find(({ label }) => label === name)?.description;

test("the size of each download is shown until it is known to be on this machine", () => {
  for (const setting of ["model", "chatModel"] as const) {
    for (const { label, description, value } of modelItems(setting, "x", "")) {
      const isDownload = value?.includes("/") ?? false;
      expect(/download of about [\d.]+ GB/.test(description), label).toBe(isDownload);
    }
  }
  expect(described("model", "bigcode/starcoder2-3b")).toMatch(/; on this machine$/);
  expect(described("model", "bigcode/starcoder")).toMatch(/; download of about 63 GB$/);
});

test("other models on this machine follow, the largest first, unusable ones left out", () => {
  const items = modelItems("model", "auto", "", ON_DISK);
  const index = items.findIndex(({ isSeparator }) => isSeparator);
  expect(items.slice(index + 1).map(({ value }) => value)).toEqual(["org/large", "org/instruct"]);
  expect(modelItems("model", "auto", "", []).some(({ isSeparator }) => isSeparator)).toBe(false);
  expect(described("model", "auto")).toMatch(/now bigcode\/starcoder2-3b; in use$/);
});

test("a model that cannot fill in the middle is shown as one for chat", () => {
  expect(described("model", "org/instruct")).toBe("3.0 GB; for chat: completes left to right only");
  expect(described("chatModel", "org/instruct")).toBe("3.0 GB");
  expect(described("model", "org/large")).toBe("9.0 GB");
});

test("a model in use on this machine is marked once", () => {
  const items = modelItems("model", "org/large", "", ON_DISK);
  const marked = items.filter(({ description }) => description.endsWith("in use"));
  expect(marked.map(({ value }) => value)).toEqual(["org/large"]);
  expect(items.filter(({ value }) => value === "org/large")).toHaveLength(1);
});

test("with a server elsewhere the models of this machine are no choice for chat", () => {
  expect(modelItems("chatModel", "", "http://box", ON_DISK).map(({ value }) => value)).toEqual([
    SAME_MODEL,
    undefined,
  ]);
});

test("an output that is no list of models adds nothing", () => {
  expect(parseModels(JSON.stringify(ON_DISK))).toEqual(ON_DISK);
  for (const output of ["", "usage: ...", "{}", "null", '[1, null, {"id": 3}]']) {
    expect(parseModels(output)).toEqual([]);
  }
});
