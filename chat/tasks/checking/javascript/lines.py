"""Counts the lines of a subject in JavaScript or TypeScript that tests execute.

A call of a global function is put before each statement, and into each expression that only some
calls reach. So it makes no difference how a framework loads and transforms the file.
"""

from __future__ import annotations

from collections.abc import Iterator

import tree_sitter

from chat.tasks.dialects.base import Subject
from syntax.grammars import count_errors, parse
from syntax.offsets import ByteOffsets
from syntax.walk import nodes

LINE_FUNCTION = "__starcoderLine__"
"""The global function that gets the number of an executed line."""
_FUNCTIONS = frozenset(
    {
        "function_declaration", "generator_function_declaration", "function_expression",
        "generator_function", "arrow_function", "method_definition",
    }
)  # fmt: skip
_NOT_EXECUTED = frozenset(
    {
        "comment", "empty_statement", "statement_block", "function_declaration",
        "generator_function_declaration", "function_signature", "interface_declaration",
        "type_alias_declaration", "ambient_declaration",
    }
)  # fmt: skip
"""Nodes between statements that execute nothing themselves."""
_LISTS = frozenset({"statement_block", "switch_case", "switch_default"})
_SINGLE = {
    "if_statement": "consequence", "for_statement": "body", "for_in_statement": "body",
    "while_statement": "body", "do_statement": "body", "with_statement": "body",
}  # fmt: skip
"""Statements whose part may be a statement without braces, and the name of the part."""
_LOGICAL = frozenset({"&&", "||", "??"})
_NO_TYPES = "// @ts-nocheck\n"

_Point = tuple[tree_sitter.Node, str, str]
"""A node that is executed with its first line, and what is written before and after it."""


def counted_source(subject: Subject) -> tuple[str, frozenset[int]]:
    """Return the text of the subject's file that counts its lines, and the lines it counts.

    Lines are those of functions in the subject, from 0 at the start of the file. There are none if
    the subject does not parse.
    """
    root, text = parse(subject.text, subject.language), subject.text
    if root is None:
        return text, frozenset()
    offsets, symbol = ByteOffsets(text), subject.symbol
    start, end = offsets.to_bytes(symbol.start), offsets.to_bytes(symbol.end)
    inserted: list[tuple[tuple[int, bool, int], str]] = []
    lines = set()
    inside = (each for each in nodes(root) if start <= each.start_byte and each.end_byte <= end)
    points = (point for each in inside if _is_executed(each, start) for point in _points(each))
    for number, (node, before, after) in enumerate(points):
        line = node.start_point[0]
        call = f"globalThis.{LINE_FUNCTION}?.({line})"
        # At one place, what ends comes before what begins, and inner ends before outer ones.
        inserted.append(((node.start_byte, True, number), before.format(call)))
        inserted.append(((node.end_byte, False, -number), after))
        lines.add(line)
    counted = _with_insertions(offsets, inserted)
    if count_errors(counted, subject.language) != count_errors(text, subject.language):
        return text, frozenset()
    return _without_types(counted), frozenset(lines)


def _is_executed(node: tree_sitter.Node, start: int) -> bool:
    """Return whether a node is executed by calls of functions that begin at an offset or later."""
    outer = node if node.type == "arrow_function" else node.parent
    while outer is not None and outer.start_byte >= start:
        if outer.type in _FUNCTIONS:
            return True
        if outer.type == "class_static_block":
            return False
        outer = outer.parent
    return False


def _points(node: tree_sitter.Node) -> Iterator[_Point]:
    """Yield the parts of a node that count their first line when they are executed."""
    if node.type in _LISTS:
        yield from _statements(node)
    elif single := _single(node):
        if single.type not in _NOT_EXECUTED:
            yield single, "{{ {}; ", " }"
    else:
        for expression in _expressions(node):
            yield expression, "({}, ", ")"


def _statements(node: tree_sitter.Node) -> Iterator[_Point]:
    labels = [node.child_by_field_name("value")]
    is_head = node.type == "statement_block"
    for each in node.named_children:
        is_head = is_head and (each.type == "comment" or _is_directive(each))
        if each.type not in _NOT_EXECUTED and each not in labels and not is_head:
            yield each, "{}; ", ""


def _is_directive(node: tree_sitter.Node) -> bool:
    """Return whether a statement at the start of a function is like `"use strict"`."""
    children = node.named_children
    return node.type == "expression_statement" and [each.type for each in children] == ["string"]


def _single(node: tree_sitter.Node) -> tree_sitter.Node | None:
    """Return the statement that is a part of another one, with or without braces."""
    if node.type == "else_clause":
        return node.named_children[-1]
    return node.child_by_field_name(_SINGLE.get(node.type, "")) if node.type in _SINGLE else None


def _expressions(node: tree_sitter.Node) -> Iterator[tree_sitter.Node]:
    """Yield the parts of an expression that begin a line, or a function, and may be left out."""
    names: tuple[str, ...] = ()
    if node.type == "arrow_function":
        body = node.child_by_field_name("body")
        if body is not None and body.type != "statement_block":
            yield body
    elif node.type == "ternary_expression":
        names = ("consequence", "alternative")
    elif node.type == "binary_expression":
        operator = node.child_by_field_name("operator")
        names = ("right",) if operator is not None and operator.type in _LOGICAL else ()
    elif node.type == "arguments":
        # The line of `.map((x) => x + 1)` is executed, even if no element is left to map.
        yield from (each for each in node.named_children if each.type in _FUNCTIONS)
    for name in names:
        part = node.child_by_field_name(name)
        if part is not None and part.start_point[0] != node.start_point[0]:
            yield part


def _with_insertions(
    offsets: ByteOffsets, inserted: list[tuple[tuple[int, bool, int], str]]
) -> str:
    """Return the text with insertions, in the order of their keys, which begin with an offset."""
    source, parts, end = offsets.source, list[bytes](), 0
    for (offset, *_), text in sorted(inserted):
        parts += [source[end:offset], text.encode()]
        end = offset
    return b"".join([*parts, source[end:]]).decode("utf-8", "surrogatepass")


def _without_types(text: str) -> str:
    """Return the text of a file whose types are not checked."""
    head, separator, rest = text.partition("\n")
    if head.startswith("#!"):
        return head + separator + _NO_TYPES + rest
    return _NO_TYPES + text
