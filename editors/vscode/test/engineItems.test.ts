import { expect, test } from "vitest";
import { engineItem } from "../src/engineItems";
import type { RunningEngine } from "../src/protocol";

const ENGINE: RunningEngine = {
  pid: 7,
  model: "bigcode/starcoder2-3b",
  state: "ready",
  detail: "",
  device: "cpu",
  memoryBytes: 6_123_000_000,
  gpuMemoryBytes: 0,
  clients: 2,
  idleSeconds: 150.7,
  current: true,
};

test("an engine is described by its device, memory, clients and last request", () => {
  const { label, description } = engineItem(ENGINE);
  expect(label).toBe("bigcode/starcoder2-3b");
  expect(description).toBe("on cpu; 6.1 GB; 2 clients; last request 2 min ago; in use here");
});

test("the memory of a GPU is what counts", () => {
  const engine = { ...ENGINE, gpuMemoryBytes: 15_000_000_000, clients: 1, current: false };
  expect(engineItem(engine).description).toBe("on cpu; 15 GB; 1 client; last request 2 min ago");
});

test("an engine that is not ready says what it does", () => {
  const loading = { ...ENGINE, state: "loading" as const, detail: "reading weights", device: "" };
  expect(engineItem({ ...loading, memoryBytes: 0, current: false }).description).toBe(
    "reading weights; 2 clients",
  );
  expect(engineItem({ ...loading, state: "silent", detail: "" }).description).toMatch(/^silent; /);
});
