"""Lines that begin inside a string of several lines, whose indentation is part of its value."""

from __future__ import annotations

import tree_sitter

from syntax.grammars import parse
from syntax.offsets import ByteOffsets, with_line_feeds
from syntax.walk import nodes, touches
from syntax.window import near

_LITERALS = frozenset(
    {
        "ansi_c_string",
        "encapsed_string",
        "heredoc",
        "heredoc_body",
        "heredoc_redirect",
        "interpolated_string",
        "interpolated_string_expression",
        "interpreted_string_literal",
        "line_string_literal",
        "multi_line_string_literal",
        "multiline_string_literal",
        "nowdoc",
        "raw_string",
        "raw_string_literal",
        "string",
        "string_literal",
        "template_string",
        "verbatim_string_literal",
    }
)
"""Nodes of string literals, with those of all grammars that this project uses."""


def literal_lines(text: str, language: str, start: int, end: int) -> frozenset[int]:
    """Return the lines between two offsets that begin inside a string.

    Lines are counted from the line that contains `start`, which is line 0. The docstrings of Python
    do not count, since tools remove their indentation.
    """
    window, shift = near(text, start, end)
    window = with_line_feeds(window)
    root = parse(window, language)
    if root is None:
        return frozenset()
    offsets = ByteOffsets(window)
    first, last = offsets.to_bytes(start - shift), offsets.to_bytes(end - shift)
    first_row = window.count("\n", 0, start - shift)
    lines: set[int] = set()

    def enters(node: tree_sitter.Node) -> bool:
        return touches(node, first, last) and node.type not in _LITERALS

    for node in nodes(root, enters):
        if node.type in _LITERALS and touches(node, first, last) and not _is_docstring(node):
            rows = range(node.start_point.row + 1, node.end_point.row + 1)
            lines.update(row - first_row for row in rows)
    return frozenset(lines)


def _is_docstring(node: tree_sitter.Node) -> bool:
    return node.type == "string" and _is_statement(node.parent)


def _is_statement(node: tree_sitter.Node | None) -> bool:
    return node is not None and node.type == "expression_statement" and node.named_child_count == 1
