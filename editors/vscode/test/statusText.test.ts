import { expect, test } from "vitest";
import type { ServerStatus } from "../src/protocol";
import { statusText } from "../src/statusText";

const ready: ServerStatus = {
  state: "ready",
  message: "",
  model: "bigcode/starcoder",
  device: "cuda",
  demo: false,
  why: "model",
  suggested: true,
  lastAt: new Date(2026, 0, 2, 13, 4, 5).getTime() / 1000,
  lastMs: 41.7,
  tokensPerSecond: 123.4,
  chat: null,
};

test("the status shows the model's name and the source of the last suggestion", () => {
  const { text, tooltip } = statusText(ready);
  expect(text).toBe("$(sparkle) StarCoder: starcoder");
  expect(tooltip).toContain("bigcode/starcoder on cuda");
  expect(tooltip).toMatch(/Last suggestion: .*:04:05.*, within 42 ms/);
  expect(tooltip).toContain("Speed: 123 tokens/s");
  expect(tooltip).toContain("Last key: a suggestion (model)");
});

test("after a key without a suggestion the reason is shown next to the last suggestion", () => {
  const why = "the model has nothing to add here";
  const { tooltip } = statusText({ ...ready, suggested: false, why });
  expect(tooltip).toContain(`Last key: no suggestion: ${why}`);
  expect(tooltip).toContain("within 42 ms");
});

test("unknown values are not shown", () => {
  const unknown = { why: "", suggested: false, lastAt: 0, lastMs: 0, tokensPerSecond: 0 };
  const { tooltip } = statusText({ ...ready, ...unknown });
  expect(tooltip).not.toMatch(/Last|Speed/);
});

test("a model for chat alone is named with its state", () => {
  expect(statusText(ready).tooltip).not.toContain("Chat model");
  const chat = { model: "HuggingFaceH4/starchat-beta", device: "", message: "" };
  const tooltip = (changes: object) =>
    statusText({ ...ready, chat: { ...chat, state: "stopped", ...changes } }).tooltip;
  expect(tooltip({})).toContain("starchat-beta, starts with the first question");
  const loaded = { state: "ready", device: "cuda" };
  expect(tooltip(loaded)).toContain("starchat-beta on cuda\n");
  const note = "No window is reported.";
  expect(tooltip({ ...loaded, message: note })).toContain(`starchat-beta on cuda. ${note}\n`);
  expect(tooltip({ state: "error", message: "no such model" })).toContain("beta: no such model");
  expect(tooltip({})).toContain("bigcode/starcoder on cuda");
});

test("the demo model is named as such", () => {
  const { text, tooltip } = statusText({ ...ready, model: "demo", demo: true });
  expect(text).toContain("demo model");
  expect(tooltip).toContain("suggestions are poor");
});

test("an error is a warning with its message", () => {
  const status = statusText({ ...ready, state: "error", message: "No engine answers." });
  expect(status.isWarning).toBe(true);
  expect(status.tooltip).toContain("No engine answers.");
});

test("every state has a text", () => {
  for (const state of ["starting", "ready", "error", "disabled"] as const) {
    expect(statusText({ ...ready, state }).text).toContain("StarCoder");
  }
  expect(statusText(undefined).text).toContain("StarCoder");
});
