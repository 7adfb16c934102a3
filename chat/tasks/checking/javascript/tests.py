"""Tests in JavaScript: their calls and callbacks, and titles by which results are recognized."""

from __future__ import annotations

import re
from collections.abc import Sequence

import tree_sitter

from syntax.grammars import parse
from syntax.offsets import ByteOffsets
from syntax.walk import nodes

LANGUAGE = "typescriptreact"
"""The LSP language id by which tests are parsed."""
FUNCTIONS = frozenset(
    {"arrow_function", "function_expression", "function_declaration", "method_definition"}
)
_TEST = re.compile(r"(?:t\.)?(?:it|test)\b")
_TITLES = frozenset({"string", "template_string", "identifier", "member_expression"})

Edits = list[tuple[int, int, str]]
"""Replacements of ranges in code points."""


def marked_test(text: str, title: str, start: str) -> str:
    """Return a test with another title, that calls `start` when it starts.

    Of a suite, each of its tests calls it.
    """
    root = parse(text, LANGUAGE)
    call = _outer_call(root) if root is not None else None
    if root is None or call is None:
        return text
    offsets = ByteOffsets(text)
    edits: Edits = [_title_edit(call, title, offsets)]
    for node in nodes(root):
        callback = callback_of(node)
        body = callback.child_by_field_name("body") if callback is not None else None
        if body is None:
            continue
        first, last = (offsets.to_characters(each) for each in (body.start_byte, body.end_byte))
        if body.type == "statement_block":
            edits.append((first + 1, first + 1, f" {start};"))
        else:
            edits += [(first, first, f"({start}, "), (last, last, ")")]
    return apply_edits(text, edits)


def callback_of(node: tree_sitter.Node) -> tree_sitter.Node | None:
    """Return the function that a call of `test` or `it` gets, None for another node."""
    if node.type != "call_expression" or not _TEST.match(
        (node.text or b"")[:20].decode("utf-8", "replace")
    ):
        return None
    arguments = node.child_by_field_name("arguments")
    if arguments is None or arguments.type != "arguments":
        return None
    functions = [each for each in arguments.named_children if each.type in FUNCTIONS]
    return functions[-1] if functions else None


def apply_edits(text: str, edits: Sequence[tuple[int, int, str]]) -> str:
    """Return a text with ranges replaced. Of two insertions at one place, the first is first."""
    for start, end, replacement in sorted(edits, key=lambda each: each[:2], reverse=True):
        text = text[:start] + replacement + text[end:]
    return text


def _outer_call(root: tree_sitter.Node) -> tree_sitter.Node | None:
    """Return the call that a test is."""
    return next((each for each in nodes(root) if each.type == "call_expression"), None)


def _title_edit(call: tree_sitter.Node, title: str, offsets: ByteOffsets) -> tuple[int, int, str]:
    arguments = call.child_by_field_name("arguments")
    assert arguments is not None
    first = arguments.named_children[0] if arguments.named_children else None
    quoted = f'"{title}"'
    if first is not None and first.type in _TITLES:
        span = offsets.to_characters(first.start_byte), offsets.to_characters(first.end_byte)
        return (*span, quoted)
    position = offsets.to_characters(arguments.start_byte) + 1
    return (position, position, f"{quoted}, ")
