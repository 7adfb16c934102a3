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
};

test("the model's name, and how the last suggestion came about", () => {
  const shown = statusText(ready);
  expect(shown.text).toBe("$(sparkle) StarCoder: starcoder");
  expect(shown.tooltip).toContain("bigcode/starcoder on cuda");
  expect(shown.tooltip).toMatch(/Last suggestion: .*:04:05.*, within 42 ms/);
  expect(shown.tooltip).toContain("Speed: 123 tokens/s");
  expect(shown.tooltip).toContain("Last key: a suggestion (model)");
});

test("a key that got none is told why, and what came before it stays", () => {
  const why = "the model has nothing to add here";
  const { tooltip } = statusText({ ...ready, suggested: false, why });
  expect(tooltip).toContain(`Last key: no suggestion: ${why}`);
  expect(tooltip).toContain("within 42 ms");
});

test("nothing is said of what is not known yet", () => {
  const unknown = { why: "", suggested: false, lastAt: 0, lastMs: 0, tokensPerSecond: 0 };
  const { tooltip } = statusText({ ...ready, ...unknown });
  expect(tooltip).not.toMatch(/Last|Speed/);
});

test("the demo model is called that", () => {
  const shown = statusText({ ...ready, model: "demo", demo: true });
  expect(shown.text).toContain("demo model");
  expect(shown.tooltip).toContain("poor by nature");
});

test("an error warns and says what it is", () => {
  const shown = statusText({ ...ready, state: "error", message: "No engine answers." });
  expect(shown.warns).toBe(true);
  expect(shown.tooltip).toContain("No engine answers.");
});

test("every state is shown", () => {
  for (const state of ["starting", "ready", "busy", "error", "disabled"] as const) {
    expect(statusText({ ...ready, state }).text).toContain("StarCoder");
  }
  expect(statusText(undefined).text).toContain("StarCoder");
});
