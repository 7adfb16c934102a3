"""go test."""

from __future__ import annotations

import re

from chat.tasks.dialects.base import (
    Dialect,
    Subject,
    Unit,
    Units,
    appended,
    in_line_ends_of,
    name_in,
    whole_nodes,
)
from chat.tasks.target import FileEdit

_FUNCTION = re.compile(r"^func \w+\(", re.M)
_KINDS = frozenset({"function_declaration"})
_NAME = re.compile(r"func (\w+)")
_PACKAGE = re.compile(r"^package (\w+)", re.M)
_IMPORTED = re.compile(r'"([^"\n]+)"')
_BLOCK = re.compile(r"^import \((.*?)^\)", re.M | re.S)
_STANDARD = {
    name.rsplit("/", 1)[-1]: name
    for name in (
        "bytes",
        "context",
        "encoding/json",
        "errors",
        "fmt",
        "io",
        "math",
        "net/http",
        "net/http/httptest",
        "os",
        "path/filepath",
        "reflect",
        "regexp",
        "slices",
        "sort",
        "strconv",
        "strings",
        "sync",
        "testing",
        "time",
        "unicode",
    )
}
"""Packages that tests use, by the name that they have in code."""


class Go(Dialect):
    """Functions named Test in the file's own package."""

    framework = "Go's testing package"
    fence = language = "go"
    asserts = re.compile(r"\bt\.(Error|Fatal|Fail|Run)|\b(assert|require)\.")

    def head(self, subject: Subject) -> str:
        return 'import "testing"\n\n'

    def opening(self, subject: Subject) -> str:
        return f"func Test{subject.camel}"

    def first_call(self, subject: Subject) -> str:
        if subject.holder:
            return f"(t *testing.T) {{\n\tmade := {subject.holder}{{"
        return f"(t *testing.T) {{\n\tif got := {subject.symbol.name}("

    def units(self, code: str) -> Units:
        found = [
            Unit(name_in(text, _NAME), text)
            for _, text in whole_nodes(code, _FUNCTION, "go", _KINDS)
        ]
        tests = [one for one in found if re.search(r"func Test\w*\(\w+ \*testing\.T\)", one.text)]
        helpers = [one for one in found if not one.name.startswith("Test")]
        return Units(tuple(_IMPORTED.findall(code)), tuple(helpers), tuple(tests))

    def names(self, existing: str) -> set[str]:
        return set(re.findall(r"^func (\w+)", existing, re.M))

    def place(self, units: Units, subject: Subject, existing: str | None) -> list[FileEdit]:
        body = "\n\n".join(one.text for one in (*units.helpers, *units.tests))
        imports = self._imports(body, subject.text)
        if existing is None or not existing.strip():
            package = name_in(subject.text, _PACKAGE) or "main"
            lines = "\n".join(f'\t"{one}"' for one in imports)
            text = f"package {package}\n\nimport (\n{lines}\n)\n\n{body.strip()}\n"
            end = len(existing or "")
            return [FileEdit(subject.file, 0, end, text, creates=existing is None)]
        missing = [one for one in imports if f'"{one}"' not in existing]
        edits = []
        if missing:
            block = _BLOCK.search(existing)
            clause = _PACKAGE.search(existing)
            at = block.end(1) if block else clause.end() if clause else 0
            lines = "".join(f'\t"{one}"\n' for one in missing)
            text = lines if block else f"\n\nimport (\n{lines})"
            edits.append(FileEdit(subject.file, at, at, in_line_ends_of(text, existing)))
        text = in_line_ends_of(appended(existing.replace("\r\n", "\n"), body.strip()), existing)
        return [*edits, FileEdit(subject.file, len(existing), len(existing), text)]

    def _imports(self, body: str, source: str) -> list[str]:
        """Return what the code uses: an import too many is as wrong to Go as one too few."""
        known = {one.rsplit("/", 1)[-1]: one for one in _imports_of(source)} | _STANDARD
        used = set(re.findall(r"(?<![\w.\"])([a-z]\w*)\.[A-Z]", body))
        return sorted(known[name] for name in used if name in known)


def _imports_of(source: str) -> list[str]:
    block = _BLOCK.search(source)
    single = re.findall(r'^import "([^"\n]+)"', source, re.M)
    return [*single, *(_IMPORTED.findall(block[1]) if block else [])]
