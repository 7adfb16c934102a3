"""JavaScript and TypeScript: Jest, Vitest and Node's test runner."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial

from chat.tasks.dialects.base import Destination, Dialect, GeneratedTests, Snippet, Subject
from chat.tasks.dialects.javascript_imports import ModuleImport, Style, read_imports
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
_HEAD = re.compile(
    r"(?:#![^\n]*\n)?"
    r"(?:[ \t]*(?://[^\n]*|/\*(?:[^*]|\*(?!/))*\*/|[\"']use [a-z]+[\"'];?)?[ \t]*\n)*"
)
_FUNCTIONS = {
    "vitest": ("afterEach", "beforeEach", "describe", "expect", "it", "test", "vi"),
    "@jest/globals": ("afterEach", "beforeEach", "describe", "expect", "it", "jest", "test"),
    "node:test": ("after", "afterEach", "before", "beforeEach", "describe", "it", "mock", "test"),
}
"""The names that tests use, by the module that exports them."""


class JavaScript(Dialect):
    """Calls of `test`, `it` or `describe`, in ES modules and CommonJS modules."""

    fence = "javascript"
    language = "typescriptreact"  # its grammar also parses JavaScript, JSX and TypeScript
    name_end = '", '
    assertion = re.compile(r"\)\.(?:\w+\.)*to\w+\(|\bassert\b|\bt\.assert")

    def __init__(self, framework: str, module: str, own_import: ModuleImport, style: Style) -> None:
        """Create a dialect.

        `module` exports the test functions; they are global if it is empty. `own_import` is the
        import of the subject, and `style` the form of all imports of the test file.
        """
        self.framework = framework
        self._module = module
        self._own_import = own_import
        self._style: Style = style

    def file_head(self, subject: Subject) -> str:
        imports = self._needed_imports('test("", () => { expect(assert) })')
        return "\n".join([*(each.statement(self._style) for each in imports), "", ""])

    def test_opening(self, subject: Subject, name: str = "") -> str:
        return f'test("{name or subject.symbol.name}'

    def test_name(self, words: str) -> str:
        return words.replace("\\", "").replace('"', "'")

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
            imports=(),
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
        needed = self._needed_imports(code, generated.imports)
        imports = "\n".join(each.statement(self._style) for each in needed)
        return f"{imports}\n\n{code.strip()}\n"

    def import_edits(
        self, generated: GeneratedTests, subject: Subject, file: Destination
    ) -> list[FileEdit]:
        existing = read_imports(file.text, self.language)
        needed = self._needed_imports(generated.joined(), generated.imports)
        missing = [each.without(existing.bound) for each in needed]
        lines = "\n".join(each.statement(self._style) for each in missing if each is not None)
        if not lines:
            return []
        if existing.end is not None:
            return [file.insert(existing.end, f"\n{lines}")]
        position = _end_of_head(file.text)
        return [file.insert(position, f"{lines}\n\n")]

    def _needed_imports(self, code: str, modules: Sequence[str] = ()) -> list[ModuleImport]:
        """Return the imports of the subject, of functions for tests, and of used modules."""
        imports = []
        if self._module == "node:test" and "assert" in code:
            imports.append(ModuleImport("node:assert/strict", whole="assert"))
        for module in modules:
            name = module.removeprefix("node:")
            if re.search(rf"(?<![.\w]){name}\.", code):
                imports.append(ModuleImport(module, whole=name))
        names = _FUNCTIONS.get(self._module, ())
        used = [name for name in names if re.search(rf"(?<![.\w]){name}\b[.(]", code)]
        if used:
            imports.append(ModuleImport(self._module, tuple((name, name) for name in used)))
        return [*imports, self._own_import]


def _end_of_head(text: str) -> int:
    """Return the end of what must stay first: an interpreter line, comments and directives."""
    match = _HEAD.match(text)
    return match.end() if match else 0


def _title(text: str) -> str:
    match = _TITLE.search(text)
    return match[2] if match else ""
