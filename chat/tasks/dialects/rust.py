"""Rust: `#[test]` functions in `mod tests` of the source file, run by `cargo test`."""

from __future__ import annotations

import re
import textwrap
from functools import partial
from itertools import pairwise

from chat.tasks.dialects.base import (
    Destination,
    Dialect,
    GeneratedTests,
    Snippet,
    Subject,
    indent,
)
from chat.tasks.dialects.rust_modules import RustFile
from chat.tasks.dialects.snippets import find_snippets, first_group
from chat.tasks.target import FileEdit

_TEST = re.compile(
    r"^[ \t]*#\[(?:\w+::)?test\]\s*\n"
    r"(?:[ \t]*#\[[^\n]*\n)*"
    r"[ \t]*(?:pub )?(?:async )?fn \w+",
    re.M,
)
_START = re.compile(r"\A")
_NODE_TYPES = frozenset({"function_item"})
_NAME = re.compile(r"fn (\w+)")
_USE = re.compile(r"^[ \t]*(use (?:std|core|super)::[^\n]+;)", re.M)


class Cargo(Dialect):
    """Functions with the attribute `#[test]` in `mod tests`."""

    framework = "Rust's built-in test"
    fence = language = "rust"
    assertion = re.compile(r"\b(assert|panic|unreachable)\w*!|#\[should_panic")

    def __init__(
        self, module: tuple[str, ...] | None = None, own_import: str = "use super::*;"
    ) -> None:
        """Create a dialect.

        `module` is the path of the test module in the source file, which may not exist yet; None if
        the tests have a file of their own. `own_import` is the import of the subject.
        """
        self._module = module
        self._own_import = own_import

    def file_head(self, subject: Subject) -> str:
        return f"{self._own_import}\n\n"

    def test_opening(self, subject: Subject, name: str = "") -> str:
        return f"#[test]\nfn {name or f'test_{subject.snake_case}'}"

    def first_call(self, subject: Subject) -> str:
        is_method = subject.class_name and subject.symbol.parents
        path = f"{subject.class_name}::" if is_method else ""
        return f"() {{\n    assert_eq!({path}{subject.symbol.name}("

    def parse(self, code: str) -> GeneratedTests:
        name_of = partial(first_group, _NAME)
        tests = []
        positions = [match.start() for match in _TEST.finditer(code)]
        for start, end in pairwise([*positions, len(code)]):
            attributes, function = _split_attributes(code[start:end])
            for snippet in find_snippets(function, "rust", _START, _NODE_TYPES, name_of):
                tests.append(Snippet(snippet.name, f"{attributes}\n{snippet.text}"))
        return GeneratedTests(tuple(_USE.findall(code)), (), tuple(tests))

    def declared_names(self, existing: str) -> set[str]:
        return set(_NAME.findall(existing))

    def new_file(self, generated: GeneratedTests, subject: Subject) -> str:
        imports = "\n".join(self._missing_imports(generated, ""))
        return f"{imports}\n\n{_joined(generated)}\n"

    def import_edits(
        self, generated: GeneratedTests, subject: Subject, file: Destination
    ) -> list[FileEdit]:
        code = RustFile(file.text)
        if self._module is None:
            uses, position, depth = code.uses(), code.end_of_head(), 0
        else:
            module = code.module(self._module)
            if module is None or module.body_start is None:
                return []  # the imports are part of a new module
            uses, position, depth = module.uses, module.body_start, len(self._module)
        lines = [_indented(line, depth) for line in self._missing_imports(generated, uses)]
        if not lines:
            return []
        text = "\n".join(lines)
        return [file.insert(position, f"\n{text}" if position else f"{text}\n")]

    def test_edit(self, generated: GeneratedTests, subject: Subject, file: Destination) -> FileEdit:
        if self._module is None:
            return file.append(_joined(generated))
        code = RustFile(file.text)
        module = code.module(self._module)
        depth = len(self._module)
        if module is not None and module.body_end is not None:
            tests = _indented(_joined(generated), depth)
            return self._insert_at_end(file, module.body_end, tests)
        imports = "\n".join(self._missing_imports(generated, ""))
        body = _indented(f"{imports}\n\n{_joined(generated)}", 1)
        new_module = f"#[cfg(test)]\nmod {self._module[-1]} {{\n{body}\n}}"
        outer = code.module(self._module[:-1]) if depth > 1 else None
        if outer is None or outer.body_end is None:
            return file.append(new_module)
        return self._insert_at_end(file, outer.body_end, _indented(new_module, depth - 1))

    @staticmethod
    def _insert_at_end(file: Destination, brace: int, code: str) -> FileEdit:
        """Return an edit that inserts code above the closing brace of a module."""
        line = file.text.rfind("\n", 0, brace) + 1
        is_alone = not file.text[line:brace].strip()
        return file.insert(line if is_alone else brace, f"\n{code}\n")

    def _missing_imports(self, generated: GeneratedTests, uses: str) -> list[str]:
        """Return the imports that the tests need and that the `use` declarations do not have."""
        code = "\n".join(test.text for test in generated.tests)
        used = {
            line
            for line in generated.imports
            if not line.startswith("use super::")
            and re.search(rf"\b{re.escape(_last_name(line))}\b", code)
        }
        needed = [self._own_import, *sorted(used)]
        return [line for line in needed if not _is_imported(line, uses)]


def _is_imported(line: str, uses: str) -> bool:
    """Whether `use` declarations import what a line imports."""
    name = _last_name(line)
    if name == "*":
        return line.removesuffix(";") in uses
    return re.search(rf"\b{re.escape(name)}\b", uses) is not None


def _split_attributes(snippet: str) -> tuple[str, str]:
    """Return the attributes above a function, and the function."""
    lines = textwrap.dedent(snippet).strip().split("\n")
    is_attribute = [line.startswith("#[") for line in lines]
    count = is_attribute.index(False) if False in is_attribute else len(lines)
    return "\n".join(lines[:count]), "\n".join(lines[count:])


def _joined(generated: GeneratedTests) -> str:
    return "\n\n".join(test.text for test in generated.tests)


def _indented(code: str, depth: int) -> str:
    """Return code indented for the body of modules in modules."""
    for _ in range(depth):
        code = indent(code)
    return code


def _last_name(use_line: str) -> str:
    return re.split(r"::|[{};]", use_line.strip(";"))[-1].strip()
