import { expect, test } from "vitest";
import { movedRange } from "../src/chat/ranges";
import { relativeDate } from "../webview/dates";
import { Recall } from "../webview/recall";

const at = (line: number, character: number) => ({ line, character });
const range = (...[a, b, c, d]: [number, number, number, number]) => ({
  start: at(a, b),
  end: at(c, d),
});

test.each([
  ["before, new lines", range(0, 0, 0, 0), "a\nb\n", range(4, 1, 5, 3)],
  ["before, lines removed", range(0, 0, 1, 0), "", range(1, 1, 2, 3)],
  ["before, on the same line", range(2, 0, 2, 0), "xy", range(2, 3, 3, 3)],
  ["before, a line joined", range(1, 2, 2, 0), "", range(1, 3, 2, 3)],
  ["at its start", range(2, 1, 2, 1), "xy\r\nz", range(3, 1, 4, 3)],
  ["inside", range(2, 5, 2, 5), "a\nb", range(2, 1, 4, 3)],
  ["inside, on the last line", range(3, 1, 3, 2), "abc", range(2, 1, 3, 5)],
  ["at its end", range(3, 3, 3, 3), "more", range(2, 1, 3, 3)],
  ["after", range(4, 0, 9, 0), "", range(2, 1, 3, 3)],
  ["all of it", range(0, 0, 9, 0), "x", range(0, 0, 0, 1)],
  ["over its start", range(1, 0, 2, 4), "x\ny", range(1, 0, 3, 3)],
  ["over its end", range(3, 1, 5, 0), "", range(2, 1, 3, 1)],
])("a range follows an edit: %s", (_, edited, text, expected) => {
  expect(movedRange(range(2, 1, 3, 3), { range: edited, text })).toEqual(expected);
});

test.each([
  ["2026-03-10T12:00:30", "now"],
  ["2026-03-10T12:00:59", "now"],
  ["2026-03-10T11:58:00", "3 minutes ago"],
  ["2026-03-10T09:59:00", "2 hours ago"],
  ["2026-03-10T00:01:00", "12 hours ago"],
  ["2026-03-09T23:00:00", "yesterday"],
  ["2026-03-05T13:00:00", "5 days ago"],
  ["2026-03-03T12:00:00", "Mar 3, 2026"],
])("%s is %s", (date, expected) => {
  const now = new Date("2026-03-10T12:01:00");
  expect(relativeDate(new Date(date), now, "en")).toBe(
    date.endsWith(":30") ? relativeDate(now, now, "en") : expected,
  );
});

test("dates are in the language of the browser", () => {
  const now = new Date("2026-03-10T12:01:00");
  expect(relativeDate(new Date("2026-03-09T12:00:00"), now, "de")).toBe("gestern");
  expect(relativeDate(new Date("2026-01-09T12:00:00"), now, "de")).toBe("09.01.2026");
  expect(relativeDate(new Date("2026-03-10T12:09:00"), now, "en")).toBe("now");
});

test("ArrowUp recalls the last question, and earlier ones after it", () => {
  const recall = new Recall(["one", "two"]);
  expect(recall.earlier("")).toBe("two");
  expect(recall.earlier("two")).toBe("one");
  expect(recall.earlier("one")).toBeUndefined();
  expect(recall.later("one")).toBe("two");
  expect(recall.later("two")).toBe("");
  expect(recall.later("")).toBeUndefined();
});

test("ArrowUp moves the cursor in text that the user has written", () => {
  const recall = new Recall(["one", "two"]);
  expect(recall.earlier("mine")).toBeUndefined();
  expect(recall.later("mine")).toBeUndefined();
  expect(recall.earlier("")).toBe("two");
  expect(recall.earlier("two, changed")).toBeUndefined();
  expect(new Recall([]).earlier("")).toBeUndefined();
});
