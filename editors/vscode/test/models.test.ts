import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { type ModelSetting, modelItems, SAME_MODEL, valueToWrite } from "../src/models";

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
