"""Rust: `#[test]` functions in `mod tests` of the source file, run by `cargo test`."""

from __future__ import annotations

import re
import textwrap
from functools import partial
from itertools import pairwise
from pathlib import Path

from chat.tasks.conventions import Convention, find_example
from chat.tasks.dialects.base import (
    Dialect,
    GeneratedTests,
    Snippet,
    Subject,
    append,
    indent,
    insert,
)
from chat.tasks.dialects.snippets import find_snippets, first_group
from chat.tasks.target import FileEdit, WorkspaceFiles
from syntax.grammars import parse

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


def rust_convention(source: Path, files: WorkspaceFiles) -> Convention:
    """Return how tests for a Rust file are written: in the file itself."""
    others = [path for path in files.paths() if path.suffix == ".rs" and path != source]
    return Convention("cargo", source, find_example(others, source, files, "#[test]"))


class Cargo(Dialect):
    """Functions with the attribute `#[test]` in `mod tests`."""

    framework = "Rust's built-in test"
    fence = language = "rust"
    assertion = re.compile(r"\b(assert|panic|unreachable)\w*!|#\[should_panic")

    def file_head(self, subject: Subject) -> str:
        return "use super::*;\n\n"

    def test_opening(self, subject: Subject) -> str:
        return f"#[test]\nfn test_{subject.snake_case}"

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
        return _test_module(generated) + "\n"

    def import_edits(
        self, generated: GeneratedTests, subject: Subject, existing: str
    ) -> list[FileEdit]:
        return []  # the imports are part of a new `mod tests`

    def test_edit(self, generated: GeneratedTests, subject: Subject, existing: str) -> FileEdit:
        position = _end_of_test_module(existing)
        if position is None:
            return append(subject.test_file, existing, _test_module(generated))
        tests = _indented_tests(generated)
        return insert(subject.test_file, existing, position, f"\n{tests}\n")


def _split_attributes(snippet: str) -> tuple[str, str]:
    """Return the attributes above a function, and the function."""
    lines = textwrap.dedent(snippet).strip().split("\n")
    is_attribute = [line.startswith("#[") for line in lines]
    count = is_attribute.index(False) if False in is_attribute else len(lines)
    return "\n".join(lines[:count]), "\n".join(lines[count:])


def _test_module(generated: GeneratedTests) -> str:
    used = {
        line
        for line in generated.imports
        if line != "use super::*;"
        and any(_last_name(line) in test.text for test in generated.tests)
    }
    imports = "\n".join(f"    {line}" for line in ["use super::*;", *sorted(used)])
    return f"#[cfg(test)]\nmod tests {{\n{imports}\n\n{_indented_tests(generated)}\n}}"


def _indented_tests(generated: GeneratedTests) -> str:
    return "\n\n".join(indent(test.text) for test in generated.tests)


def _last_name(use_line: str) -> str:
    return re.split(r"::|[{};]", use_line.strip(";"))[-1].strip()


def _end_of_test_module(text: str) -> int | None:
    """Return the offset of the last line of `mod tests`, None if there is no such module."""
    root = parse(text, "rust")
    for node in root.named_children if root is not None else ():
        name = node.child_by_field_name("name")
        body = node.child_by_field_name("body")
        if node.type == "mod_item" and name is not None and name.text == b"tests" and body:
            encoded = text.encode("utf-8", "surrogatepass")
            brace = len(encoded[: body.end_byte - 1].decode("utf-8", "surrogatepass"))
            line = text.rfind("\n", 0, brace) + 1
            return line if not text[line:brace].strip() else brace
    return None
