"""pytest and unittest."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable

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
from chat.tasks.dialects.python_names import (
    Import,
    after_imports,
    arguments,
    imports_in,
    module_of,
    unknown_names,
    uses,
)
from chat.tasks.target import FileEdit

_TOP = re.compile(
    r"^(?:@[^\n]+\n)*(?:(?:async )?def |class )\w+|^[A-Za-z_]\w*(?:: [^\n=]+)? = ", re.M
)
_METHOD = re.compile(r"^[ \t]+(?:@[^\n]+\n[ \t]+)*(?:async )?def \w+\(\s*(?:self|cls)\b", re.M)
_KINDS = frozenset(
    {
        "decorated_definition",
        "function_definition",
        "class_definition",
        "expression_statement",
    }
)
_NAME = re.compile(r"(?:def|class) (\w+)|^(\w+)", re.M)
_MAIN = re.compile(r"""^if __name__ == ["']__main__["']""", re.M)


class _Python(Dialect):
    fence = language = "python"
    asserts = re.compile(r"\bassert\b|\.assert\w+\(|\braises\(|\bwarns\(|\.fail\(")

    def names(self, existing: str) -> set[str]:
        return set(re.findall(r"(?:def|class) (\w+)", existing))

    def knows_all(self, unit: Unit, units: Units, subject: Subject, existing: str | None) -> bool:
        code = _with_imports(units.imports, unit.text)
        known = {one.bound for one in self._imports(code, subject)}
        known |= {one.name for one in units.helpers} | {"unittest", "pytest"}
        known |= {one.bound for one in imports_in(existing or "")} | self.names(existing or "")
        return unknown_names(unit.text) <= known

    def _own_import(self, subject: Subject) -> Import:
        return Import(module_of(subject.path, subject.root), subject.entry)

    def _imports(self, code: str, subject: Subject) -> list[Import]:
        """Return the imports that units need: of modules that are surely there."""
        own = self._own_import(subject)
        known = {*sys.stdlib_module_names, "pytest"}
        sources = imports_in(subject.text)
        known |= {one.module.split(".")[0] for one in sources}
        used = [one for one in [*imports_in(code), *sources] if uses(code, one.bound)]
        kept = [
            one
            for one in used
            if one.module.split(".")[0] in known
            and one.bound != own.bound
            and one.module != "__future__"
        ]
        return list(dict.fromkeys([*kept, own]))

    def _head(self, imports: Iterable[Import], own: Import) -> str:
        groups: dict[int, list[str]] = {}
        for one in sorted(imports, key=lambda one: one.line):
            standard = one.module.split(".")[0] in sys.stdlib_module_names
            groups.setdefault(2 if one == own else 0 if standard else 1, []).append(one.line)
        return "\n\n".join("\n".join(groups[at]) for at in sorted(groups))

    def _edits(
        self, subject: Subject, existing: str | None, imports: list[Import], body: str
    ) -> list[FileEdit]:
        if existing is None or not existing.strip():
            head = self._head(imports, self._own_import(subject))
            end = len(existing or "")
            text = f"{head}\n\n\n{body.strip()}\n"
            return [FileEdit(subject.file, 0, end, text, creates=existing is None)]
        have = {one.bound for one in imports_in(existing)}
        missing = [one for one in imports if one.bound not in have]
        edits = []
        if missing:
            at = after_imports(existing)
            lines = "".join(f"{line}\n" for line in sorted(one.line for one in missing))
            before = "" if at == 0 or existing[at - 1] == "\n" else "\n"
            text = in_line_ends_of(before + lines, existing)
            edits.append(FileEdit(subject.file, at, at, text))
        main = _MAIN.search(existing)
        if main:
            text = in_line_ends_of(f"{body.strip()}\n\n\n", existing)
            return [*edits, FileEdit(subject.file, main.start(), main.start(), text)]
        text = in_line_ends_of(appended(existing.replace("\r\n", "\n"), body.strip(), 2), existing)
        return [*edits, FileEdit(subject.file, len(existing), len(existing), text)]


class Pytest(_Python):
    """Plain functions."""

    framework = "pytest"

    def head(self, subject: Subject) -> str:
        return f"import pytest\n\n{self._own_import(subject).line}\n\n\n"

    def opening(self, subject: Subject) -> str:
        return f"def test_{subject.words}"

    def first_call(self, subject: Subject) -> str:
        if subject.holder:
            return f"():\n    made = {subject.holder}("
        return f"():\n    assert {subject.symbol.name}("

    def units(self, code: str) -> Units:
        found = [Unit(_name(text), text) for _, text in whole_nodes(code, _TOP, "python", _KINDS)]
        helpers = [one for one in found if not _is_test(one)]
        known = {*_FIXTURES, *(one.name for one in helpers if "fixture" in one.text)}
        tests = [one for one in found if _is_test(one) and arguments(one.text) <= known]
        return Units((code,), tuple(helpers), tuple(tests))

    def place(self, units: Units, subject: Subject, existing: str | None) -> list[FileEdit]:
        body = "\n\n\n".join(one.text for one in (*units.helpers, *units.tests))
        imports = self._imports(_with_imports(units.imports, body), subject)
        return self._edits(subject, existing, imports, body)


_FIXTURES = {
    "self",
    "tmp_path",
    "tmp_path_factory",
    "monkeypatch",
    "capsys",
    "capfd",
    "caplog",
    "request",
    "recwarn",
    "pytestconfig",
    "tmpdir",
}
"""Arguments that pytest itself has values for."""


class Unittest(_Python):
    """Methods of a TestCase."""

    framework = "unittest"

    def head(self, subject: Subject) -> str:
        return f"import unittest\n\n{self._own_import(subject).line}\n\n\n"

    def opening(self, subject: Subject) -> str:
        name = f"Test{subject.camel}"
        return f"class {name}(unittest.TestCase):\n    def test_{subject.words}"

    def first_call(self, subject: Subject) -> str:
        if subject.holder:
            return f"(self):\n        made = {subject.holder}("
        return f"(self):\n        self.assertEqual({subject.symbol.name}("

    def units(self, code: str) -> Units:
        found = [
            Unit(_name(text), text) for _, text in whole_nodes(code, _METHOD, "python", _KINDS)
        ]
        tests = [one for one in found if one.name.startswith("test")]
        helpers = [one for one in found if one.name in ("setUp", "tearDown", "setUpClass")]
        return Units((code,), tuple(helpers), tuple(tests))

    def place(self, units: Units, subject: Subject, existing: str | None) -> list[FileEdit]:
        name = f"Test{subject.camel}"
        taken = self.names(existing or "")
        number = 2
        while name in taken:
            name, number = f"Test{subject.camel}{number}", number + 1
        methods = "\n\n".join(_indented(one.text) for one in (*units.helpers, *units.tests))
        body = f"class {name}(unittest.TestCase):\n{methods}"
        imports = self._imports(_with_imports(units.imports, body), subject)
        if Import("unittest") not in imports:
            imports.insert(0, Import("unittest"))
        return self._edits(subject, existing, imports, body)


def _name(text: str) -> str:
    found = _NAME.search(re.sub(r"^@.*$", "", text, flags=re.M).strip())
    return (found[1] or found[2]) if found else ""


def _is_test(unit: Unit) -> bool:
    return unit.name.startswith("test") or (
        unit.name.startswith("Test") and unit.text.lstrip().startswith("class")
    )


def _with_imports(written: tuple[str, ...], body: str) -> str:
    """Return code that parses: the import lines that a model wrote, and what was kept."""
    lines = [
        line
        for code in written
        for line in code.split("\n")
        if re.match(r"(import|from) [\w.]+", line) and name_in(line, re.compile(r"(.)\s*$")) != "("
    ]
    whole = [line for line in lines if imports_in(line)]
    return "\n".join([*whole, body])


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" if line.strip() else "" for line in text.split("\n"))
