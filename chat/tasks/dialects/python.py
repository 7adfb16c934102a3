"""pytest and unittest."""

from __future__ import annotations

import ast
import builtins
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

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
from chat.tasks.target import Edit

_TOP = re.compile(
    r"^(?:@[^\n]+\n)*(?:(?:async )?def |class )\w+|^[A-Za-z_]\w*(?:: [^\n=]+)? = ", re.M
)
_METHOD = re.compile(r"^[ \t]+(?:@[^\n]+\n[ \t]+)*(?:async )?def \w+\(\s*(?:self|cls)\b", re.M)
_KINDS = frozenset({
    "decorated_definition", "function_definition", "class_definition", "expression_statement",
})  # fmt: skip
_NAME = re.compile(r"(?:def|class) (\w+)|^(\w+)", re.M)
_MAIN = re.compile(r"""^if __name__ == ["']__main__["']""", re.M)


@dataclass(frozen=True, slots=True)
class Import:
    """One imported name."""

    module: str
    name: str = ""
    """Empty where the module itself is imported."""
    alias: str = ""

    @property
    def bound(self) -> str:
        """The name that it has in the file."""
        return self.alias or self.name or self.module.split(".")[0]

    @property
    def line(self) -> str:
        """As it is written."""
        end = f" as {self.alias}" if self.alias else ""
        if self.name:
            return f"from {self.module} import {self.name}{end}"
        return f"import {self.module}{end}"


def imports_in(code: str) -> list[Import]:
    """Return the absolute imports at the top level of code that parses; empty otherwise."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError):
        return []
    found = []
    for node in tree.body:
        if isinstance(node, ast.Import):
            found += [Import(one.name, "", one.asname or "") for one in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found += [Import(node.module, one.name, one.asname or "") for one in node.names]
    return found


def module_of(path: Path, root: Path) -> str:
    """Return the dotted name by which a file is imported.

    Packages are followed up to the folder that is none; where there is no package, `src` or the
    workspace is what names begin below.
    """
    top = path.parent
    while (top / "__init__.py").exists() and top != top.parent:
        top = top.parent
    if top == path.parent and path.is_relative_to(root):
        top = root / "src" if path.is_relative_to(root / "src") else root
    parts = list(path.relative_to(top).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts)


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
        used = [one for one in [*imports_in(code), *sources] if _uses(code, one.bound)]
        kept = [
            one for one in used
            if one.module.split(".")[0] in known and one.bound != own.bound
            and one.module != "__future__"
        ]  # fmt: skip
        return list(dict.fromkeys([*kept, own]))

    def _head(self, imports: Iterable[Import], own: Import) -> str:
        groups: dict[int, list[str]] = {}
        for one in sorted(imports, key=lambda one: one.line):
            standard = one.module.split(".")[0] in sys.stdlib_module_names
            groups.setdefault(2 if one == own else 0 if standard else 1, []).append(one.line)
        return "\n\n".join("\n".join(groups[at]) for at in sorted(groups))

    def _edits(
        self, subject: Subject, existing: str | None, imports: list[Import], body: str
    ) -> list[Edit]:
        if existing is None or not existing.strip():
            head = self._head(imports, self._own_import(subject))
            end = len(existing or "")
            text = f"{head}\n\n\n{body.strip()}\n"
            return [Edit(subject.file, 0, end, text, creates=existing is None)]
        have = {one.bound for one in imports_in(existing)}
        missing = [one for one in imports if one.bound not in have]
        edits = []
        if missing:
            at = _after_imports(existing)
            lines = "".join(f"{line}\n" for line in sorted(one.line for one in missing))
            before = "" if at == 0 or existing[at - 1] == "\n" else "\n"
            text = in_line_ends_of(before + lines, existing)
            edits.append(Edit(subject.file, at, at, text))
        main = _MAIN.search(existing)
        if main:
            text = in_line_ends_of(f"{body.strip()}\n\n\n", existing)
            return [*edits, Edit(subject.file, main.start(), main.start(), text)]
        text = in_line_ends_of(appended(existing.replace("\r\n", "\n"), body.strip(), 2), existing)
        return [*edits, Edit(subject.file, len(existing), len(existing), text)]


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
        tests = [one for one in found if _is_test(one) and _arguments(one.text) <= known]
        return Units((code,), tuple(helpers), tuple(tests))

    def place(self, units: Units, subject: Subject, existing: str | None) -> list[Edit]:
        body = "\n\n\n".join(one.text for one in (*units.helpers, *units.tests))
        imports = self._imports(_with_imports(units.imports, body), subject)
        return self._edits(subject, existing, imports, body)


_FIXTURES = {
    "self", "tmp_path", "tmp_path_factory", "monkeypatch", "capsys", "capfd", "caplog", "request",
    "recwarn", "pytestconfig", "tmpdir",
}  # fmt: skip
"""Arguments that pytest itself has values for."""


def _arguments(test: str) -> set[str]:
    """Return what a test wants as arguments, without what its decorators give."""
    try:
        (node,) = ast.parse(test).body
    except (SyntaxError, ValueError):
        return {"what does not parse"}
    functions = node.body if isinstance(node, ast.ClassDef) else [node]
    wanted: set[str] = set()
    for one in functions:
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef):
            given = " ".join(ast.unparse(decorator) for decorator in one.decorator_list)
            wanted |= {arg.arg for arg in one.args.args} - set(re.findall(r"\w+", given))
    return wanted


def unknown_names(code: str) -> set[str]:
    """Return the names that code reads and neither binds itself nor has from Python."""
    try:
        nodes = list(ast.walk(ast.parse(code)))
    except (SyntaxError, ValueError, RecursionError):
        return {"what does not parse"}
    bound = set(dir(builtins))
    read = set[str]()
    for node in nodes:
        if isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            bound |= {one.asname or one.name.split(".")[0] for one in node.names}
        elif isinstance(node, ast.ExceptHandler) and node.name:
            bound.add(node.name)
    return read - bound


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

    def place(self, units: Units, subject: Subject, existing: str | None) -> list[Edit]:
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
        line for code in written for line in code.split("\n")
        if re.match(r"(import|from) [\w.]+", line) and name_in(line, re.compile(r"(.)\s*$")) != "("
    ]  # fmt: skip
    whole = [line for line in lines if imports_in(line)]
    return "\n".join([*whole, body])


def _uses(code: str, name: str) -> bool:
    """Whether code uses a name anywhere but where it is imported."""
    rest = re.sub(r"^(import|from) .*$", "", code, flags=re.M)
    return re.search(rf"(?<![\w.]){re.escape(name)}\b", rest) is not None


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" if line.strip() else "" for line in text.split("\n"))


def _after_imports(text: str) -> int:
    """Return where an import line may be added: behind the last, or the module's docstring."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        found = [one.end() for one in re.finditer(r"^(?:import|from) [^\n(]+\n", text, re.M)]
        return found[-1] if found else 0
    last = 0
    for at, node in enumerate(tree.body):
        docstring = at == 0 and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if docstring or isinstance(node, ast.Import | ast.ImportFrom):
            last = node.end_lineno or 0
    ends = [one.end() for one in re.finditer(r"\r\n|\r|\n", text)]
    return 0 if last == 0 else ends[last - 1] if last <= len(ends) else len(text)
