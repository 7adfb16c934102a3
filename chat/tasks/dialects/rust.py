"""cargo test: a module of tests in the source file itself."""

from __future__ import annotations

import re
import textwrap
from itertools import pairwise

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
from syntax.grammars import parse

_TEST = re.compile(
    r"^[ \t]*#\[(?:\w+::)?test\]\s*\n"
    r"(?:[ \t]*#\[[^\n]*\n)*"
    r"[ \t]*(?:pub )?(?:async )?fn \w+",
    re.M,
)
_KINDS = frozenset({"function_item"})
_NAME = re.compile(r"fn (\w+)")
_USE = re.compile(r"^[ \t]*(use (?:std|core|super)::[^\n]+;)", re.M)


class Cargo(Dialect):
    """Functions marked `#[test]` in `mod tests`."""

    framework = "Rust's built-in test"
    fence = language = "rust"
    asserts = re.compile(r"\b(assert|panic|unreachable)\w*!|#\[should_panic")

    def head(self, subject: Subject) -> str:
        return "use super::*;\n\n"

    def opening(self, subject: Subject) -> str:
        return f"#[test]\nfn test_{subject.words}"

    def first_call(self, subject: Subject) -> str:
        holder = f"{subject.holder}::" if subject.holder and subject.symbol.parents else ""
        return f"() {{\n    assert_eq!({holder}{subject.symbol.name}("

    def units(self, code: str) -> Units:
        tests = []
        places = [found.start() for found in _TEST.finditer(code)]
        for start, end in pairwise([*places, len(code)]):
            attributes, function = _parted(code[start:end])
            for _, text in whole_nodes(function, re.compile(r"\A"), "rust", _KINDS):
                tests.append(Unit(name_in(text, _NAME), f"{attributes}\n{text}"))
        return Units(tuple(_USE.findall(code)), (), tuple(tests))

    def names(self, existing: str) -> set[str]:
        return set(_NAME.findall(existing))

    def place(self, units: Units, subject: Subject, existing: str | None) -> list[FileEdit]:
        text = existing or ""
        tests = "\n\n".join(_indented(one.text) for one in units.tests)
        end = _end_of_tests(text)
        if end is not None:
            inserted = in_line_ends_of(f"\n{tests}\n", text)
            return [FileEdit(subject.file, end, end, inserted)]
        uses = [one for one in units.imports if one != "use super::*;"]
        kept = [one for one in uses if any(_last(one) in test.text for test in units.tests)]
        head = "\n".join(f"    {one}" for one in ["use super::*;", *sorted(set(kept))])
        module = f"#[cfg(test)]\nmod tests {{\n{head}\n\n{tests}\n}}"
        added = in_line_ends_of(appended(text.replace("\r\n", "\n"), module), text)
        return [FileEdit(subject.file, len(text), len(text), added)]


def _parted(snippet: str) -> tuple[str, str]:
    """Return the attributes above a function, and the function."""
    lines = textwrap.dedent(snippet).strip().split("\n")
    count = next((at for at, line in enumerate(lines) if not line.startswith("#[")), len(lines))
    return "\n".join(lines[:count]), "\n".join(lines[count:])


def _last(use: str) -> str:
    return re.split(r"::|[{};]", use.strip(";"))[-1].strip()


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" if line.strip() else "" for line in text.split("\n"))


def _end_of_tests(text: str) -> int | None:
    """Return where the last line of `mod tests` begins, None where there is no such module."""
    root = parse(text, "rust")
    for node in root.named_children if root is not None else ():
        name = node.child_by_field_name("name")
        body = node.child_by_field_name("body")
        if node.type == "mod_item" and name is not None and name.text == b"tests" and body:
            encoded = text.encode("utf-8", "surrogatepass")
            closing = len(encoded[: body.end_byte - 1].decode("utf-8", "surrogatepass"))
            line = text.rfind("\n", 0, closing) + 1
            return line if not text[line:closing].strip() else closing
    return None
