"""jest, vitest and Node's own runner."""

from __future__ import annotations

import os
import re
from pathlib import PurePath

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

_TESTS = re.compile(r"^(?:test|it|describe)(?:\.\w+)*\(", re.M)
_HELPERS = re.compile(r"^(?:async )?function \w+|^(?:const|let) \w+ =", re.M)
_TEST_KINDS = frozenset({"expression_statement"})
_HELPER_KINDS = frozenset(
    {"function_declaration", "lexical_declaration", "generator_function_declaration"}
)
_TITLE = re.compile(r"""\(\s*(["'`])(.*?)\1""")
_NAME = re.compile(r"(?:function|const|let) (\w+)")
_ANY_IMPORT = re.compile(
    r"^import [\s\S]*?[\"'];?$|^(?:const|let) [^;]*?= require\([^)]*\);?$", re.M
)
_VITEST = ("afterEach", "beforeEach", "describe", "expect", "it", "test", "vi")
_NODE = ("after", "afterEach", "before", "beforeEach", "describe", "it", "mock", "test")


class JavaScript(Dialect):
    """Calls of `test` or `it`, in modules of either kind."""

    fence = "javascript"
    language = "typescriptreact"  # its grammar reads all four languages
    asserts = re.compile(r"\)\.(?:\w+\.)*to\w+\(|\bassert\b|\bt\.assert")

    def __init__(self, framework: str, module: str | None) -> None:
        self.framework = framework
        self._module = module

    def head(self, subject: Subject) -> str:
        lines = self._imports(subject, 'test("", () => { expect(assert) })')
        return "\n".join([*lines, "", ""])

    def opening(self, subject: Subject) -> str:
        return f'test("{subject.symbol.name}'

    def first_call(self, subject: Subject) -> str:
        if subject.holder:
            return f'", () => {{\n  const made = new {subject.holder}('
        start = "assert.equal(" if self._module == "node:test" else "expect("
        return f'", () => {{\n  {start}{subject.symbol.name}('

    def units(self, code: str) -> Units:
        tests = [
            Unit(_title(text), text)
            for _, text in whole_nodes(code, _TESTS, self.language, _TEST_KINDS)
        ]
        helpers = [
            Unit(name_in(text, _NAME), text)
            for _, text in whole_nodes(code, _HELPERS, self.language, _HELPER_KINDS)
            if "require(" not in text
        ]
        return Units(tuple(_ANY_IMPORT.findall(code)), tuple(helpers), tuple(tests))

    def names(self, existing: str) -> set[str]:
        declared = re.findall(r"(?:function|const|let|class) (\w+)", existing)
        titles = [found[1] for found in re.findall(r"""\(\s*(["'`])(.*?)\1""", existing)]
        return {*declared, *titles}

    def renamed(self, unit: Unit, name: str) -> Unit:
        return Unit(name, unit.text.replace(unit.name, name, 1))

    def place(self, units: Units, subject: Subject, existing: str | None) -> list[FileEdit]:
        body = "\n\n".join(one.text for one in (*units.helpers, *units.tests))
        imports = self._imports(subject, body)
        if existing is None or not existing.strip():
            head = "\n".join(imports)
            end = len(existing or "")
            text = f"{head}\n\n{body.strip()}\n"
            return [FileEdit(subject.file, 0, end, text, creates=existing is None)]
        bound = {name for one in _ANY_IMPORT.findall(existing) for name in re.findall(r"\w+", one)}
        missing = [one for one in imports if not _names_of(one) <= bound]
        edits = []
        if missing:
            last = [found.end() for found in _ANY_IMPORT.finditer(existing)]
            at = last[-1] if last else 0
            lines = "\n".join(_only(one, bound) for one in missing)
            text = f"\n{lines}" if last else f"{lines}\n\n"
            edits.append(FileEdit(subject.file, at, at, in_line_ends_of(text, existing)))
        text = in_line_ends_of(appended(existing.replace("\r\n", "\n"), body.strip()), existing)
        return [*edits, FileEdit(subject.file, len(existing), len(existing), text)]

    def _imports(self, subject: Subject, body: str) -> list[str]:
        modern = _is_module(subject)
        lines = []
        if self._module is not None:
            known = _VITEST if self._module == "vitest" else _NODE
            used = [name for name in known if re.search(rf"(?<![.\w]){name}\b[.(]", body)]
            lines.append(_line(f"{{ {', '.join(used)} }}", self._module, modern=modern))
            if self._module == "node:test" and "assert" in body:
                lines.insert(0, _line("assert", "node:assert/strict", modern=modern))
        default = re.search(rf"export default [^\n]*\b{subject.entry}\b", subject.text)
        exported_whole = re.search(rf"module\.exports = {subject.entry}\b", subject.text)
        what = subject.entry if default or exported_whole else f"{{ {subject.entry} }}"
        return [*lines, _line(what, _relative(subject), modern=modern)]


def _title(text: str) -> str:
    found = _TITLE.search(text)
    return found[2] if found else ""


def _line(what: str, module: str, *, modern: bool) -> str:
    if modern:
        return f'import {what} from "{module}";'
    return f'const {what} = require("{module}");'


def _is_module(subject: Subject) -> bool:
    """Whether a file is an ES module: by its ending, by what it exports, TypeScript always."""
    if subject.path.suffix in (".ts", ".tsx", ".mts", ".mjs"):
        return True
    if subject.path.suffix == ".cjs":
        return False
    return re.search(r"^(?:export|import) ", subject.text, re.M) is not None


def _relative(subject: Subject) -> str:
    path = PurePath(os.path.relpath(subject.path, subject.file.parent)).as_posix()
    path = path if path.startswith(".") else f"./{path}"
    stem, suffix = os.path.splitext(path)
    # TypeScript names what the file will be, or nothing; a plain module must be named whole.
    return stem if suffix in (".ts", ".tsx") else f"{stem}{suffix}"


def _names_of(line: str) -> set[str]:
    names = re.sub(r"from .*|= require.*|^import|^const", "", line)
    return set(re.findall(r"\w+", names))


def _only(line: str, bound: set[str]) -> str:
    """Return an import of those names that a file does not have yet."""
    inner = re.search(r"\{ (.*) \}", line)
    if inner is None:
        return line
    names = [name for name in inner[1].split(", ") if name not in bound]
    return line.replace(inner[0], f"{{ {', '.join(names)} }}")
