"""The text of tests in JavaScript that call a function and expect something from it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from chat.tasks.checking.javascript.literals import Code, literal
from chat.tasks.checking.javascript.samples import SAMPLE_FILE

PLACEHOLDER = "Symbol()"
"""The expected value: a new symbol, which nothing returns."""
FILE_MODULES = ("node:fs", "node:os", "node:path")
"""The modules that a test with a file needs."""
_PRINTING = "console.log("
_FILE = (
    'const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), "test-")), "input.txt");',
    'fs.writeFileSync(file, "first line\\nsecond line\\n");',
)
_USES_FILE = re.compile(rf"[(,] ?{SAMPLE_FILE.text}[,)]")
_MOCKS = {"jest": "jest", "vitest": "vi"}
_MAX_WORDS = 60
_ARTICLE = re.compile(r"[aeiou]")


@dataclass(frozen=True, slots=True)
class Template:
    """How tests of one function are written."""

    framework: str
    code: str
    """The text of the function."""
    is_async: bool

    def test(self, title: str, call: str) -> str:
        """Return a test of a call. It expects the placeholder."""
        prints = _PRINTING in self.code
        arguments = ""
        lines: list[str] = []
        if _USES_FILE.search(call):
            lines += _FILE
        if prints and self.framework == "node":
            arguments = "t"
            lines += self._mocked_by_node(call)
        elif prints:
            lines += self._mocked(call, _MOCKS[self.framework])
        elif self.framework == "node":
            lines.append(f"assert.equal({call}, {PLACEHOLDER});")
        else:
            lines.append(f"expect({call}).toBe({PLACEHOLDER});")
        word = "async " if prints and self.is_async else ""
        body = "".join(f"  {line}\n" for line in lines)
        return f'test("{title}", {word}({arguments}) => {{\n{body}}});'

    def _mocked_by_node(self, call: str) -> list[str]:
        """Return a test of what is printed. Node's runner ends the mock with the test."""
        return [
            'const log = t.mock.method(console, "log", () => {});',
            self._statement(call),
            "assert.deepEqual(log.mock.calls.map((call) => call.arguments), " + f"{PLACEHOLDER});",
        ]

    def _mocked(self, call: str, module: str) -> list[str]:
        """Return a test of what is printed. The next test must not see what this one printed."""
        return [
            f'const log = {module}.spyOn(console, "log").mockImplementation(() => {{}});',
            "try {",
            f"  {self._statement(call)}",
            f"  expect(log.mock.calls).toBe({PLACEHOLDER});",
            "} finally {",
            "  log.mockRestore();",
            "}",
        ]

    def _statement(self, call: str) -> str:
        return f"await {call};" if self.is_async else f"{call};"


def title_words(values: Sequence[object]) -> str:
    """Return the arguments of a call as a part of a title."""
    words = list(map(_word, values)) or ["nothing"]
    while len(words) > 1 and len(" and ".join(words)) > _MAX_WORDS:
        words.pop()
    return " and ".join(words)


def _word(value: object) -> str:
    if isinstance(value, str | list | dict):
        word = {"str": "text", "list": "array"}.get(type(value).__name__, "object")
        size = {0: "empty ", 1: "short " if isinstance(value, str) else "single "}
        word = f"{size.get(len(value), '')}{word}"
        return f"{'an' if _ARTICLE.match(word) else 'a'} {word}"
    if isinstance(value, Code):
        return value.words
    if isinstance(value, int | float) and not isinstance(value, bool) and value < 0:
        return f"minus {literal(-value)}"
    return literal(value)
