"""JUnit 5 and 4."""

from __future__ import annotations

import re

from chat.tasks.dialects.base import (
    Dialect,
    Subject,
    Unit,
    Units,
    in_line_ends_of,
    name_in,
    whole_nodes,
)
from chat.tasks.target import FileEdit

_TEST = re.compile(r"^[ \t]*@Test\b", re.M)
_KINDS = frozenset({"method_declaration"})
_NAME = re.compile(r"\bvoid (\w+)\s*\(")
_IMPORT = re.compile(r"^import (?:static )?[\w.]+(?:\.\*)?;", re.M)
_PACKAGE = re.compile(r"^package ([\w.]+);", re.M)


class JUnit(Dialect):
    """Methods marked `@Test` in a class of their own."""

    fence = language = "java"
    asserts = re.compile(r"\bassert\w*\(|\bfail\(|expected\s*=")

    def __init__(self, framework: str, package: str) -> None:
        self.framework = framework
        self._package = package

    @property
    def _static(self) -> str:
        name = "Assertions" if "jupiter" in self._package else "Assert"
        return f"import static {self._package}.{name}.*;"

    def head(self, subject: Subject) -> str:
        return f"import {self._package}.Test;\n{self._static}\n\n"

    def opening(self, subject: Subject) -> str:
        name = f"{subject.path.stem}Test"
        return f"class {name} {{\n    @Test\n    public void {subject.symbol.name}"

    def first_call(self, subject: Subject) -> str:
        return f"() {{\n        assertEquals({subject.holder}.{subject.symbol.name}("

    def units(self, code: str) -> Units:
        tests = [
            Unit(name_in(text, _NAME), text)
            for _, text in whole_nodes(code, _TEST, "java", _KINDS, ("class X {\n", "\n}"))
        ]
        return Units(tuple(_IMPORT.findall(code)), (), tuple(tests))

    def names(self, existing: str) -> set[str]:
        return set(_NAME.findall(existing))

    def place(self, units: Units, subject: Subject, existing: str | None) -> list[FileEdit]:
        tests = "\n\n".join(_indented(one.text) for one in units.tests)
        imports = self._imports(units)
        if existing is None or not existing.strip():
            package = name_in(subject.text, _PACKAGE)
            head = [f"package {package};"] if package else []
            head.append("\n".join(imports))
            text = "\n\n".join([*head, f"class {subject.path.stem}Test {{\n{tests}\n}}\n"])
            end = len(existing or "")
            return [FileEdit(subject.file, 0, end, text, creates=existing is None)]
        edits = []
        missing = [one for one in imports if not _has(existing, one)]
        if missing:
            places = [
                found.end() for found in (*_PACKAGE.finditer(existing), *_IMPORT.finditer(existing))
            ]
            at = max(places, default=0)
            text = "".join(f"\n{one}" for one in missing)
            edits.append(FileEdit(subject.file, at, at, in_line_ends_of(text, existing)))
        closing = existing.rfind("}")
        at = existing.rfind("\n", 0, closing) + 1 if closing >= 0 else len(existing)
        return [*edits, FileEdit(subject.file, at, at, in_line_ends_of(f"\n{tests}\n", existing))]

    def _imports(self, units: Units) -> list[str]:
        used = "\n".join(one.text for one in units.tests)
        java = [
            one
            for one in units.imports
            if one.startswith("import java.") and re.search(rf"\b{_class_of(one)}\b", used)
        ]
        return [*sorted(set(java)), f"import {self._package}.Test;", self._static]


def _class_of(line: str) -> str:
    """Return a pattern of the class that a line imports; any for a whole package."""
    name = line.rstrip(";").rsplit(".", 1)[-1]
    return r"\w+" if name == "*" else name


def _has(existing: str, line: str) -> bool:
    if line in existing:
        return True
    stem = line.rsplit(".", 1)[0]
    single = line.endswith(".Test;")
    return f"{stem}.*;" in existing if single else f"{stem}." in existing


def _indented(text: str) -> str:
    lines = text.split("\n")
    rest = [line for line in lines[1:] if line.strip()]
    cut = min((len(line) - len(line.lstrip()) for line in rest), default=0)
    made = [lines[0], *(line[cut:] if line.strip() else "" for line in lines[1:])]
    return "\n".join(f"    {line}" if line else "" for line in made)
