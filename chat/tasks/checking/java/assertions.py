"""Finds the assertions of a JUnit test: what each one looks at, and what it expects."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import tree_sitter

from syntax.grammars import count_errors, parse
from syntax.offsets import ByteOffsets
from syntax.walk import nodes

LANGUAGE = "java"
Kind = Literal["equals", "truth", "throws"]

_BEFORE, _AFTER = "class X {\n", "\n}"
_EQUALS = frozenset(
    {"assertEquals", "assertNotEquals", "assertArrayEquals", "assertIterableEquals"}
)
_TRUTH = frozenset({"assertTrue", "assertFalse", "assertNull", "assertNotNull"})
_THROWS = frozenset({"assertThrows", "assertThrowsExactly"})
_CLASS = re.compile(r"(?:org\.junit\.(?:jupiter\.api\.)?)?(?:Assert|Assertions)")
_LITERALS = frozenset(
    {
        "decimal_integer_literal", "hex_integer_literal", "decimal_floating_point_literal",
        "string_literal", "character_literal", "true", "false", "null_literal", "unary_expression",
    }
)  # fmt: skip
_MIN_EQUALS = 2


@dataclass(frozen=True, slots=True)
class Assertion:
    """A statement that asserts something. Offsets are code points in the text of the test."""

    start: int
    end: int
    kind: Kind
    expected: str
    """The expression that it expects; the class of the error for `throws`, empty for `truth`."""
    actual: str
    """The expression that it looks at, empty for a function with several statements."""
    actual_start: int
    actual_end: int
    qualifier: str
    """What is before the name of the assertion, such as `Assertions.`."""
    called: str
    """The name of the method that `actual` calls, empty if it is something else."""
    function: str
    """The function that should raise an error, for `throws`."""


def find_assertions(text: str) -> list[Assertion]:
    """Return the assertions of a test that are statements, in their order."""
    source = _BEFORE + text + _AFTER
    root = parse(source, LANGUAGE)
    if root is None or root.has_error:
        return []
    finder = _Finder(source)
    statements = (node for node in nodes(root) if node.type == "expression_statement")
    assertions = (finder.assertion(node) for node in statements)
    return sorted((each for each in assertions if each), key=lambda each: each.start)


def is_correct(text: str) -> bool:
    """Return whether a test parses."""
    return not count_errors(_BEFORE + text + _AFTER, LANGUAGE)


def text_of(node: tree_sitter.Node | None) -> str:
    """Return the text of a node, empty without one."""
    return (node.text or b"").decode("utf-8", "replace") if node is not None else ""


class _Finder:
    def __init__(self, source: str) -> None:
        self._offsets = ByteOffsets(source)

    def assertion(self, statement: tree_sitter.Node) -> Assertion | None:
        """Return the assertion that a statement is, None if it is something else."""
        call = statement.named_children[0]
        owner = text_of(call.child_by_field_name("object"))
        if call.type != "method_invocation" or (owner and not _CLASS.fullmatch(owner)):
            return None
        name = text_of(call.child_by_field_name("name"))
        arguments = _arguments(call, name)
        qualifier = f"{owner}." if owner else ""
        if name in _TRUTH and arguments:
            return self._assertion(statement, "truth", None, arguments[0], qualifier)
        if name in _EQUALS and len(arguments) >= _MIN_EQUALS:
            expected, actual = arguments[:2]
            if actual.type in _LITERALS and expected.type not in _LITERALS:
                expected, actual = actual, expected
            return self._assertion(statement, "equals", expected, actual, qualifier)
        if name in _THROWS and len(arguments) >= _MIN_EQUALS:
            return self._assertion(statement, "throws", arguments[0], arguments[1], qualifier)
        return None

    def _assertion(
        self,
        statement: tree_sitter.Node,
        kind: Kind,
        expected: tree_sitter.Node | None,
        actual: tree_sitter.Node,
        qualifier: str,
    ) -> Assertion:
        function = text_of(actual) if kind == "throws" else ""
        if kind == "throws":
            body = actual.child_by_field_name("body") or actual
            is_block = actual.type != "lambda_expression" or body.type == "block"
            actual = _only_expression(body) or body if is_block else body
            has_value = actual.type == "method_invocation"
        else:
            has_value = True
        start, end = self._span(statement)
        first, last = self._span(actual)
        called = actual.child_by_field_name("name") if actual.type == "method_invocation" else None
        return Assertion(
            start=start,
            end=end,
            kind=kind,
            expected=text_of(expected).removesuffix(".class"),
            actual=text_of(actual) if has_value else "",
            actual_start=first,
            actual_end=last,
            qualifier=qualifier,
            called=text_of(called),
            function=function,
        )

    def _span(self, node: tree_sitter.Node) -> tuple[int, int]:
        """Return the code points at which a node begins and ends in the test."""
        first, last = map(self._offsets.to_characters, (node.start_byte, node.end_byte))
        return first - len(_BEFORE), last - len(_BEFORE)


def _only_expression(block: tree_sitter.Node) -> tree_sitter.Node | None:
    """Return the expression of a block with one statement."""
    children = [each for each in block.named_children if "comment" not in each.type]
    if len(children) == 1 and children[0].type == "expression_statement":
        return children[0].named_children[0]
    return None


def _arguments(call: tree_sitter.Node, name: str) -> list[tree_sitter.Node]:
    """Return the arguments of a call without the message, which JUnit 4 has first."""
    node = call.child_by_field_name("arguments")
    children = node.named_children if node is not None else []
    arguments = [each for each in children if "comment" not in each.type]
    required = 1 if name in _TRUTH else _MIN_EQUALS
    is_message_first = len(arguments) > required and arguments[0].type == "string_literal"
    if is_message_first and (name in _TRUTH or arguments[-1].type != "string_literal"):
        return arguments[1:]
    return arguments
