"""Code in JavaScript that runs with tests: a reporter of Node's runner, and what tests call."""

from __future__ import annotations

import json

from chat.tasks.checking.javascript.elsewhere import ELSEWHERE
from chat.tasks.checking.javascript.lines import LINE_FUNCTION

REPORT = "/private/starcoder-report"
"""The file to which tests and the reporter write JSON arrays, one per line."""

REPORTER = """
import { appendFileSync } from "node:fs";
export default async function* report(source) {
  let count = 0;
  for await (const { type, data } of source) {
    if (type !== "test:pass" && type !== "test:fail") continue;
    const isSkipped = data.skip !== undefined || data.todo !== undefined;
    if (data.details?.type !== "suite" && !isSkipped) count += 1;
    if (data.nesting) continue;
    const line = ["end", data.name, type === "test:pass" && count > 0];
    appendFileSync("REPORT", JSON.stringify(line) + "\\n");
    count = 0;
  }
}
""".replace("REPORT", REPORT)
"""A reporter of Node's runner. It writes one line for each test and suite at the top level. A suite
passes only if one of its tests was run."""

_REPORT_FUNCTION = """function __starcoderReport__(...values) {
  const system = globalThis.process;
  const files = system.getBuiltinModule?.("node:fs")
    ?? (typeof require === "function" ? require("fs") : undefined);
  const line = JSON.stringify(values) + "\\n";
  if (files) files.appendFileSync("REPORT", line);
  else system._rawDebug("\\n" + "MARK" + line);
}"""
"""It also works without a module of Node: then the line is part of the output, after the mark."""

_SEE_FUNCTION = """
function __starcoderSee__(name, index, actual, check, kind) {
  const text = (value, depth) => {
    if (depth > 5) return undefined;
    if (value === null || value === undefined) return String(value);
    if (typeof value === "string") return JSON.stringify(value);
    if (typeof value === "number") return Object.is(value, -0) ? "-0" : String(value);
    if (typeof value === "boolean") return String(value);
    if (typeof value === "bigint") return value + "n";
    if (typeof value !== "object") return undefined;
    let parts;
    if (Array.isArray(value)) {
      parts = Array.from(value, (each) => text(each, depth + 1));
      if (Object.keys(value).length !== value.length) return undefined;
      if (parts.includes(undefined)) return undefined;
      return "[" + parts.join(", ") + "]";
    }
    const prototype = Object.getPrototypeOf(value);
    if (!prototype || Object.getPrototypeOf(prototype)) return undefined;
    if (Object.getOwnPropertySymbols(value).length) return undefined;
    if (Object.prototype.toString.call(value) !== "[object Object]") return undefined;
    const keys = Object.keys(value);
    if (keys.includes("__proto__")) return undefined;
    parts = keys.map((key) => text(value[key], depth + 1));
    if (parts.includes(undefined)) return undefined;
    const word = (key) => (/^[A-Za-z_$][\\w$]*$/.test(key) ? key : JSON.stringify(key));
    const pairs = keys.map((key, i) => word(key) + ": " + parts[i]);
    return pairs.length ? "{ " + pairs.join(", ") + " }" : "{}";
  };
  const send = (seen) => __starcoderReport__("seen", name, index, seen);
  const known = ["TypeError", "RangeError", "SyntaxError", "URIError", "EvalError",
    "ReferenceError", "AssertionError", "Error"];
  const raised = (error, call) => {
    let prototype = error;
    let found = "";
    while (prototype && !found) {
      const own = prototype.constructor?.name ?? "";
      found = known.includes(own) || own.startsWith("Assertion") ? own : "";
      prototype = Object.getPrototypeOf(prototype);
    }
    const where = String(error?.stack ?? "").replaceAll("file://", "");
    const decoded = (() => { try { return decodeURIComponent(where); } catch { return where; } })();
    const inside = where.includes("SOURCE") || decoded.includes("SOURCE");
    const failing = call ? Promise.reject(error) : () => { throw error; };
    if (call) failing.catch(() => undefined);
    const done = (right) => send({ call, raised: found || "?", inside, right });
    if (kind === "value") return done(false);
    return checked(failing, done);
  };
  const checked = (value, done) => {
    let result;
    try { result = check(value); } catch { return done(false); }
    if (typeof result?.then !== "function") return done(true);
    return result.then(() => done(true), () => done(false));
  };
  const finished = (value, call) => {
    let seen = value;
    if (value && typeof value.next === "function" && typeof value[Symbol.iterator] === "function") {
      call = "spread";
      seen = [...value];
    }
    const shown = text(seen, 0);
    const literal = shown !== undefined;
    const done = (right) => send({ call, right, value: shown ?? "", literal, kind: typeof seen });
    if (kind === "raises") return done(false);
    return checked(seen, done);
  };
  let value;
  try { value = actual(); } catch (error) { return raised(error, ""); }
  if (typeof value?.then !== "function") return finished(value, "");
  return value.then((each) => finished(each, "await"), (error) => raised(error, "await"));
}"""


_COUNT_FUNCTION = """function __starcoderCount__(test) {
  const counted = new Set();
  globalThis.LINE_FUNCTION = (line) => {
    if (counted.has(line)) return;
    counted.add(line);
    __starcoderReport__("line", test, line);
  };
  __starcoderReport__("start", test);
}""".replace("LINE_FUNCTION", LINE_FUNCTION)

_TYPED = (
    ("(...values)", "(...values: any[]): void"),
    ("globalThis.process", "(globalThis as any).process"),
    ('\n    ?? (typeof require === "function" ? require("fs") : undefined)', ""),
)
"""What is different in TypeScript, in which a type may be missing for `require`."""


def report_function(mark: str, *, is_typed: bool) -> str:
    """Return the function with which a test reports that it has started."""
    code = _REPORT_FUNCTION.replace('"REPORT"', f'"{REPORT}"').replace("MARK", mark)
    for plain, typed in _TYPED if is_typed else ():
        code = code.replace(plain, typed)
    return code


def see_function(source: str) -> str:
    """Return the function with which an assertion reports what it sees; it has no types.

    `source` is the subject's file. An error has come from it if its stack names the file.
    """
    return ELSEWHERE.strip() + "\n" + _SEE_FUNCTION.strip().replace('"SOURCE"', json.dumps(source))


def count_function() -> str:
    """Return the function that a test calls when it starts, so that its lines are counted."""
    return _COUNT_FUNCTION
