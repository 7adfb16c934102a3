"""JavaScript and TypeScript: Jest, Vitest and Node's test runner."""

from __future__ import annotations

import os
import re
from functools import partial
from pathlib import PurePath

from chat.tasks.dialects.base import Dialect, GeneratedTests, Snippet, Subject, insert
from chat.tasks.dialects.snippets import find_snippets, first_group
from chat.tasks.target import FileEdit

_TEST = re.compile(r"^(?:test|it|describe)(?:\.\w+)*\(", re.M)
_HELPER = re.compile(r"^(?:async )?function \w+|^(?:const|let) \w+ =", re.M)
_TEST_TYPES = frozenset({"expression_statement"})
_HELPER_TYPES = frozenset(
    {"function_declaration", "lexical_declaration", "generator_function_declaration"}
)
_TITLE = re.compile(r"""\(\s*(["'`])(.*?)\1""")
_NAME = re.compile(r"(?:function|const|let) (\w+)")
_ANY_IMPORT = re.compile(
    r"^import [\s\S]*?[\"'];?$|^(?:const|let) [^;]*?= require\([^)]*\);?$", re.M
)
_VITEST_NAMES = ("afterEach", "beforeEach", "describe", "expect", "it", "test", "vi")
_NODE_NAMES = ("after", "afterEach", "before", "beforeEach", "describe", "it", "mock", "test")


class JavaScript(Dialect):
    """Calls of `test`, `it` or `describe`, in ES modules and CommonJS modules."""

    fence = "javascript"
    language = "typescriptreact"  # its grammar also parses JavaScript, JSX and TypeScript
    assertion = re.compile(r"\)\.(?:\w+\.)*to\w+\(|\bassert\b|\bt\.assert")

    def __init__(self, framework: str, module: str | None) -> None:
        """Create a dialect. `module` exports the test functions; they are global if it is None."""
        self.framework = framework
        self._module = module

    def file_head(self, subject: Subject) -> str:
        lines = self._needed_imports(subject, 'test("", () => { expect(assert) })')
        return "\n".join([*lines, "", ""])

    def test_opening(self, subject: Subject) -> str:
        return f'test("{subject.symbol.name}'

    def first_call(self, subject: Subject) -> str:
        if subject.class_name:
            return f'", () => {{\n  const made = new {subject.class_name}('
        assertion = "assert.equal(" if self._module == "node:test" else "expect("
        return f'", () => {{\n  {assertion}{subject.symbol.name}('

    def parse(self, code: str) -> GeneratedTests:
        name_of = partial(first_group, _NAME)
        tests = find_snippets(code, self.language, _TEST, _TEST_TYPES, _title)
        helpers = find_snippets(code, self.language, _HELPER, _HELPER_TYPES, name_of)
        return GeneratedTests(
            imports=tuple(_ANY_IMPORT.findall(code)),
            helpers=tuple(helper for helper in helpers if "require(" not in helper.text),
            tests=tuple(tests),
        )

    def declared_names(self, existing: str) -> set[str]:
        names = re.findall(r"(?:function|const|let|class) (\w+)", existing)
        titles = [match[2] for match in _TITLE.finditer(existing)]
        return {*names, *titles}

    def rename(self, test: Snippet, name: str) -> Snippet:
        return Snippet(name, test.text.replace(test.name, name, 1))

    def new_file(self, generated: GeneratedTests, subject: Subject) -> str:
        code = generated.joined()
        imports = "\n".join(self._needed_imports(subject, code))
        return f"{imports}\n\n{code.strip()}\n"

    def import_edits(
        self, generated: GeneratedTests, subject: Subject, existing: str
    ) -> list[FileEdit]:
        matches = list(_ANY_IMPORT.finditer(existing))
        bound = {name for match in matches for name in re.findall(r"\w+", match[0])}
        needed = self._needed_imports(subject, generated.joined())
        missing = [line for line in needed if not _imported_names(line) <= bound]
        if not missing:
            return []
        lines = "\n".join(_without_names(line, bound) for line in missing)
        if matches:
            return [insert(subject.test_file, existing, matches[-1].end(), f"\n{lines}")]
        return [insert(subject.test_file, existing, 0, f"{lines}\n\n")]

    def _needed_imports(self, subject: Subject, code: str) -> list[str]:
        is_module = _is_es_module(subject)
        lines = []
        if self._module is not None:
            names = _VITEST_NAMES if self._module == "vitest" else _NODE_NAMES
            used = [name for name in names if re.search(rf"(?<![.\w]){name}\b[.(]", code)]
            lines.append(_import_line(f"{{ {', '.join(used)} }}", self._module, is_module))
            if self._module == "node:test" and "assert" in code:
                lines.insert(0, _import_line("assert", "node:assert/strict", is_module))
        name = subject.imported_name
        is_default = re.search(rf"export default [^\n]*\b{name}\b", subject.text)
        is_whole_module = re.search(rf"module\.exports = {name}\b", subject.text)
        binding = name if is_default or is_whole_module else f"{{ {name} }}"
        return [*lines, _import_line(binding, _relative_module(subject), is_module)]


def _title(text: str) -> str:
    match = _TITLE.search(text)
    return match[2] if match else ""


def _import_line(binding: str, module: str, is_es_module: bool) -> str:
    if is_es_module:
        return f'import {binding} from "{module}";'
    return f'const {binding} = require("{module}");'


def _is_es_module(subject: Subject) -> bool:
    """Whether the source file is an ES module, by its suffix, else by its imports and exports."""
    if subject.path.suffix in (".ts", ".tsx", ".mts", ".mjs"):
        return True
    if subject.path.suffix == ".cjs":
        return False
    return re.search(r"^(?:export|import) ", subject.text, re.M) is not None


def _relative_module(subject: Subject) -> str:
    path = PurePath(os.path.relpath(subject.path, subject.test_file.parent)).as_posix()
    path = path if path.startswith(".") else f"./{path}"
    stem, suffix = os.path.splitext(path)
    # TypeScript imports have no `.ts` suffix; ES modules must be imported with their suffix.
    return stem if suffix in (".ts", ".tsx") else f"{stem}{suffix}"


def _imported_names(import_line: str) -> set[str]:
    names = re.sub(r"from .*|= require.*|^import|^const", "", import_line)
    return set(re.findall(r"\w+", names))


def _without_names(import_line: str, bound: set[str]) -> str:
    """Return an import line without the names that the file already imports."""
    braces = re.search(r"\{ (.*) \}", import_line)
    if braces is None:
        return import_line
    names = [name for name in braces[1].split(", ") if name not in bound]
    return import_line.replace(braces[0], f"{{ {', '.join(names)} }}")
