import { expect, test } from "vitest";
import { formatBytes, formatSeconds } from "../src/format";

test.each([
  [0, "0 B"],
  [999, "999 B"],
  [1000, "1.0 KB"],
  [18_732_888, "19 MB"],
  [656_000_000, "656 MB"],
  [6_123_000_000, "6.1 GB"],
  [63_000_000_000, "63 GB"],
  [5e15, "5000 TB"],
])("%i bytes are %s", (bytes, text) => {
  expect(formatBytes(bytes)).toBe(text);
});

test.each([
  [0, "0 s"],
  [59.9, "59 s"],
  [60, "1 min"],
  [3599, "59 min"],
  [3600, "1 h"],
  [90_000, "25 h"],
])("%f seconds are %s", (seconds, text) => {
  expect(formatSeconds(seconds)).toBe(text);
});
