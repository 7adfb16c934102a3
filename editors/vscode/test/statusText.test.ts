import { expect, test } from "vitest";
import type { ServerStatus } from "../src/protocol";
import { statusText } from "../src/statusText";

const ready: ServerStatus = {
  state: "ready",
  message: "",
  model: "bigcode/starcoder",
  device: "cuda",
  demo: false,
  why: "from the model",
  lastMs: 41.7,
};

test("the model's name, and where the last suggestion came from", () => {
  const shown = statusText(ready);
  expect(shown.text).toBe("$(sparkle) StarCoder: starcoder");
  expect(shown.tooltip).toContain("bigcode/starcoder on cuda");
  expect(shown.tooltip).toContain("Last key: from the model (42 ms)");
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
