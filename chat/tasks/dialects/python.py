"""Python: pytest and unittest."""

from __future__ import annotations

import re
import sys
from abc import abstractmethod
from collections.abc import Sequence

from chat.tasks.dialects.base import (
    Destination,
    Dialect,
    GeneratedTests,
    Snippet,
    Subject,
    free_name,
    indent,
)
from chat.tasks.dialects.python_names import (
    Import,
    argument_names,
    find_imports,
    import_lines,
    import_position,
    top_level_names,
    undefined_names,
    uses_name,
)
from chat.tasks.dialects.snippets import find_snippets
from chat.tasks.target import FileEdit

_TOP_LEVEL = re.compile(
    r"^(?:@[^\n]+\n)*(?:(?:async )?def |class )\w+|^[A-Za-z_]\w*(?:: [^\n=]+)? = ", re.M
)
_METHOD = re.compile(r"^[ \t]+(?:@[^\n]+\n[ \t]+)*(?:async )?def \w+\(\s*(?:self|cls)\b", re.M)
_NODE_TYPES = frozenset(
    {
        "decorated_definition",
        "function_definition",
        "class_definition",
        "expression_statement",
    }
)
_NAME = re.compile(r"(?:def|class) (\w+)|^(\w+)", re.M)
_MAIN = re.compile(r"""^if __name__ == ["']__main__["']""", re.M)
_PYTEST_FIXTURES = {
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
"""Test arguments that pytest itself provides, and `self`."""


class PythonDialect(Dialect):
    """The common parts of pytest and unittest: imports, and the place of tests in a file."""

    fence = language = "python"
    assertion = re.compile(r"\bassert\b|\.assert\w+\(|\braises\(|\bwarns\(|\.fail\(")
    blank_lines = 2

    def __init__(self, module: str) -> None:
        self.module = module
        """The dotted name by which tests import the source file."""

    def file_head(self, subject: Subject) -> str:
        return f"import {self.framework}\n\n{self._own_import(subject).line}\n\n\n"

    def test_name(self, words: str) -> str:
        name = super().test_name(words)
        return name if name.startswith("test") else f"test_{name}"

    def declared_names(self, existing: str) -> set[str]:
        return set(re.findall(r"(?:def|class) (\w+)", existing))

    def has_all_names(
        self, test: Snippet, generated: GeneratedTests, subject: Subject, existing: str
    ) -> bool:
        imports = [
            *self._needed_imports(_with_imports(generated, test.text), subject),
            *find_imports(existing),
        ]
        defined = {"unittest", "pytest", *(imported.bound_name for imported in imports)}
        defined |= {helper.name for helper in generated.helpers}
        defined |= self.declared_names(existing)
        return undefined_names(test.text) <= defined

    def new_file(self, generated: GeneratedTests, subject: Subject) -> str:
        code = self._code(generated, subject, "")
        imports = self._imports(generated, code, subject)
        head = _sorted_groups(imports, self._own_import(subject))
        return f"{head}\n\n\n{code}\n"

    def import_edits(
        self, generated: GeneratedTests, subject: Subject, file: Destination
    ) -> list[FileEdit]:
        existing = file.text
        code = self._code(generated, subject, existing)
        bound = {imported.bound_name for imported in find_imports(existing)}
        needed = self._imports(generated, code, subject)
        missing = import_lines(each for each in needed if each.bound_name not in bound)
        if not missing:
            return []
        position = import_position(existing)
        is_line_start = position == 0 or existing[position - 1] == "\n"
        lines = ("" if is_line_start else "\n") + "".join(f"{line}\n" for line in missing)
        return [file.insert(position, lines)]

    def test_edit(self, generated: GeneratedTests, subject: Subject, file: Destination) -> FileEdit:
        code = self._code(generated, subject, file.text)
        main = _MAIN.search(file.text)
        if main:
            return file.insert(main.start(), f"{code}\n\n\n")
        return file.append(code, self.blank_lines)

    def _imports(self, generated: GeneratedTests, code: str, subject: Subject) -> list[Import]:
        """Return the imports of a test file that contains `code`."""
        return self._needed_imports(_with_imports(generated, code), subject)

    def _own_import(self, subject: Subject) -> Import:
        """Return the import of the subject itself."""
        return Import(self.module, subject.imported_name)

    def _needed_imports(self, code: str, subject: Subject) -> list[Import]:
        """Return the imports that code uses, and the import of the subject.

        Modules are taken only from the standard library, pytest and the imports of the source file,
        because the model may invent others. Other names that the source file has at its top level
        are imported from there.
        """
        own = self._own_import(subject)
        source_imports = find_imports(subject.text)
        existing_modules = {*sys.stdlib_module_names, "pytest"}
        existing_modules |= {imported.top_module for imported in source_imports}
        used = [
            imported
            for imported in (*find_imports(code), *source_imports)
            if uses_name(code, imported.bound_name)
            and imported.top_module in existing_modules
            and imported.bound_name != own.bound_name
            and imported.module != "__future__"
        ]
        bound = {own.bound_name, *(imported.bound_name for imported in used)}
        without_imports = re.sub(r"^(?:import|from) .*$", "", code, flags=re.M)
        names = undefined_names(without_imports) & top_level_names(subject.text)
        others = [Import(self.module, name) for name in sorted(names - bound)]
        return list(dict.fromkeys([*used, own, *others]))

    @abstractmethod
    def _code(self, generated: GeneratedTests, subject: Subject, existing: str) -> str:
        """Return the code that goes into the test file, without imports."""


class Pytest(PythonDialect):
    """Test functions."""

    framework = "pytest"

    def __init__(self, module: str, fixtures: frozenset[str] = frozenset()) -> None:
        """Create a dialect. Tests may use the fixtures with these names."""
        super().__init__(module)
        self._fixtures = fixtures

    def test_opening(self, subject: Subject, name: str = "") -> str:
        return f"def {name or f'test_{subject.snake_case}'}"

    def first_call(self, subject: Subject) -> str:
        if subject.class_name:
            return f"():\n    made = {subject.class_name}("
        return f"():\n    assert {subject.symbol.name}("

    def parse(self, code: str) -> GeneratedTests:
        snippets = list(find_snippets(code, "python", _TOP_LEVEL, _NODE_TYPES, _name))
        helpers = tuple(snippet for snippet in snippets if not _is_pytest_test(snippet))
        fixtures = {helper.name for helper in helpers if "fixture" in helper.text}
        known_arguments = _PYTEST_FIXTURES | self._fixtures | fixtures
        tests = (snippet for snippet in snippets if _is_pytest_test(snippet))
        callable_tests = tuple(
            test for test in tests if argument_names(test.text) <= known_arguments
        )
        return GeneratedTests((code,), helpers, callable_tests)

    def _code(self, generated: GeneratedTests, subject: Subject, existing: str) -> str:
        return generated.joined("\n\n\n").strip()


class Unittest(PythonDialect):
    """Methods of a subclass of `unittest.TestCase`."""

    framework = "unittest"

    def test_opening(self, subject: Subject, name: str = "") -> str:
        class_name = f"Test{subject.camel_case}"
        method = name or f"test_{subject.snake_case}"
        return f"class {class_name}(unittest.TestCase):\n    def {method}"

    def first_call(self, subject: Subject) -> str:
        if subject.class_name:
            return f"(self):\n        made = {subject.class_name}("
        return f"(self):\n        self.assertEqual({subject.symbol.name}("

    def parse(self, code: str) -> GeneratedTests:
        methods = list(find_snippets(code, "python", _METHOD, _NODE_TYPES, _name))
        set_up = ("setUp", "tearDown", "setUpClass")
        return GeneratedTests(
            imports=(code,),
            helpers=tuple(method for method in methods if method.name in set_up),
            tests=tuple(method for method in methods if method.name.startswith("test")),
        )

    def _code(self, generated: GeneratedTests, subject: Subject, existing: str) -> str:
        name = free_name(f"Test{subject.camel_case}", self.declared_names(existing), separator="")
        methods = (indent(method.text) for method in (*generated.helpers, *generated.tests))
        return f"class {name}(unittest.TestCase):\n" + "\n\n".join(methods).rstrip()

    def _imports(self, generated: GeneratedTests, code: str, subject: Subject) -> list[Import]:
        imports = super()._imports(generated, code, subject)
        return list(dict.fromkeys([Import("unittest"), *imports]))


def _sorted_groups(imports: Sequence[Import], own: Import) -> str:
    """Return import lines in three groups: standard library, third party, the project itself."""
    groups: dict[int, list[Import]] = {}
    for imported in imports:
        is_standard = imported.top_module in sys.stdlib_module_names
        group = 2 if imported.module == own.module else 0 if is_standard else 1
        groups.setdefault(group, []).append(imported)
    return "\n\n".join("\n".join(import_lines(groups[group])) for group in sorted(groups))


def _name(text: str) -> str:
    match = _NAME.search(re.sub(r"^@.*$", "", text, flags=re.M).strip())
    return (match[1] or match[2]) if match else ""


def _is_pytest_test(snippet: Snippet) -> bool:
    is_class = snippet.text.lstrip().startswith("class")
    return snippet.name.startswith("test") or (snippet.name.startswith("Test") and is_class)


def _with_imports(generated: GeneratedTests, code: str) -> str:
    """Return code after the import lines that the model wrote and that parse."""
    lines = [
        line
        for written in generated.imports
        for line in written.split("\n")
        if re.match(r"(import|from) [\w.]+", line) and not line.rstrip().endswith("(")
    ]
    return "\n".join([*(line for line in lines if find_imports(line)), code])
