"""The documentation that a function or class has, in the forms of its language."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import tree_sitter

from syntax.definitions import body_of, is_attribute, is_comment, name_node, overloaded_name
from syntax.grammars import grammar_name
from syntax.offsets import ByteOffsets
from syntax.symbols import SymbolNodes, enclosing_nodes
from syntax.walk import nodes

Form = Literal["docstring", "comment"]

_DOC_COMMENT = re.compile(r"///|//!|/\*[*!]|---|--\[=*\[|=begin|##")
"""Beginnings of comments that are documentation, even with an empty line after them."""
_INNER_DOC = (b"//!", b"/*!", b"#![doc")
"""Beginnings of Rust's documentation inside of what it describes."""
_FOR_TOOLS = re.compile(
    r"(?://go:|//nolint|(?:#|//|--|/\*+)\s*(?:eslint|prettier|biome|tslint|jshint|@ts-|@flow"
    r"|istanbul|c8|v8|NOLINT|clang-format|noqa|type:|pylint|pragma|fmt:|rubocop|shellcheck"
    r"|swiftlint|ktlint|luacheck|stylua|phpcs|phpstan|psalm|noinspection|NOSONAR|nosec))"
)
"""Comments for tools, which must stay directly above the symbol."""
_FOR_DEVELOPERS = re.compile(r"(?:#|//|--|/\*+)\s*(?:TODO|FIXME|XXX|HACK)\b")
_FOR_FILE = re.compile(
    r"#!|#\s*-\*-|#\s*(?:frozen_string_literal|encoding|coding):|(?:#|//|--|/\*)\s*#?(?:end)?region\b"
    r"|(?:#|//|--|/\*)\s*[-=*#~/]{3,}|.*(?:copyright|SPDX-|@file\b|@fileoverview|@packageDocumentation)",
    re.IGNORECASE | re.DOTALL,
)
"""Comments that belong to the file or a part of it: magic comments, licences, rulers."""
_RUST_DOC_ATTRIBUTE = re.compile(r"#!?\[\s*(?:cfg_attr\s*\([^,]*,\s*)?doc\s*=")
_STRINGS = {"string", "concatenated_string"}
_STATEMENTS = {"expression_statement", "parenthesized_expression"}
_MAX_NODES = 200
"""Maximum number of comments and attributes above a symbol that are looked at."""
_MAX_COMMENT_BYTES = 2000


@dataclass(frozen=True, slots=True)
class Documentation:
    """The documentation of a symbol, or the place for it."""

    form: Form | None
    """The form that the symbol has; None if it is not documented."""
    position: int
    """Start of the line above which a comment belongs, in code points: above the attributes, and
    above comments for tools."""
    starts_line: bool
    """Whether this line begins with the symbol or what belongs to it."""


def documentation_at(
    text: str, language: str, start: int, end: int | None = None
) -> Documentation | None:
    """Return the documentation of the symbol at a cursor or selection, None without a symbol."""
    entry = enclosing_nodes(text, language, start, end)
    if entry is None:
        return None
    symbol, offsets, shift = entry
    reader = _Reader(symbol, offsets, grammar_name(language) or "")
    form = reader.form()
    first = reader.first
    position = offsets.source.rfind(b"\n", 0, first.start_byte) + 1
    return Documentation(form, offsets.to_characters(position) + shift, reader.begins_line(first))


class _Reader:
    """Reads the nodes around one symbol."""

    def __init__(self, symbol: SymbolNodes, offsets: ByteOffsets, grammar: str) -> None:
        self._symbol, self._offsets, self._grammar = symbol, offsets, grammar
        self.first = symbol.head
        """The first node above which a comment belongs; `form` moves it above other nodes."""

    def form(self) -> Form | None:
        """Return the form of the documentation, None if there is none."""
        if self._grammar == "python":
            return "docstring" if self._has_docstring() else None
        if self._has_comment_above() or self._has_comment_in_signature():
            return "comment"
        body = body_of(self._symbol.inner)
        if self._grammar == "rust" and body is not None:
            inside = self._offsets.source[body.start_byte + 1 : body.start_byte + 200]
            return "comment" if inside.lstrip().startswith(_INNER_DOC) else None
        return None

    def begins_line(self, node: tree_sitter.Node) -> bool:
        """Whether only white space is before a node on its line."""
        source = self._offsets.source
        return not source[source.rfind(b"\n", 0, node.start_byte) + 1 : node.start_byte].strip()

    def _has_docstring(self) -> bool:
        """Whether the body begins with a string, of any prefix, quotes and number of parts."""
        body = body_of(self._symbol.inner)
        if body is None:
            return False
        first = next((child for child in body.named_children if not is_comment(child)), None)
        for _ in range(_MAX_NODES):
            if first is None or first.type not in _STATEMENTS or first.named_child_count != 1:
                break
            first = first.named_children[0]
        return first is not None and first.type in _STRINGS

    def _has_comment_above(self) -> bool:
        row = self._symbol.outer.start_point.row
        for node in self._nodes_above(self._symbol.outer):
            text = self._text(node)
            if not is_comment(node) and not is_attribute(node):  # the signature of an overload
                self.first = node
            elif is_attribute(node):
                if _RUST_DOC_ATTRIBUTE.match(text):
                    return True
                self.first = node
            elif not self.begins_line(node):
                return False  # it belongs to the code on its line
            elif self._describes(node, text, gap=row - _last_row(node) - 1):
                return True
            elif row - _last_row(node) > 1 or _FOR_FILE.match(text):
                return False
            elif _FOR_TOOLS.match(text):
                self.first = node
            row = node.start_point.row
        return False

    def _describes(self, comment: tree_sitter.Node, text: str, gap: int) -> bool:
        """Whether a comment describes the symbol `gap` empty lines below it."""
        if gap > 1 or _FOR_FILE.match(text) or (self._grammar == "rust" and text[2:3] == "!"):
            return False
        if _DOC_COMMENT.match(text):
            return True
        is_among_attributes = comment.start_byte > self._symbol.head.start_byte
        if is_among_attributes or _FOR_TOOLS.match(text) or _FOR_DEVELOPERS.match(text):
            return False
        if gap == 0:
            return True
        # Go's comments begin with the name of what they describe.
        name = re.escape(self._symbol.name)
        return re.match(rf"//\s*{name}\b", self._first_line_of_block(comment)) is not None

    def _first_line_of_block(self, comment: tree_sitter.Node) -> str:
        """Return the first of the comments on the lines directly above each other."""
        first = comment
        for above in self._nodes_above(comment):
            is_next = first.start_point.row - _last_row(above) == 1
            if not (is_comment(above) and is_next and self.begins_line(above)):
                break
            first = above
        return self._text(first)

    def _has_comment_in_signature(self) -> bool:
        """Whether documentation is among the annotations and modifiers before the name."""
        name = name_node(self._symbol.inner)
        end = self._symbol.outer.end_byte if name is None else name.start_byte
        before_name = nodes(self._symbol.outer, lambda node: node.start_byte < end)
        return any(
            is_comment(node) and _DOC_COMMENT.match(self._text(node)) is not None
            for node in before_name
            if node.start_byte < end
        )

    def _nodes_above(self, node: tree_sitter.Node) -> Iterator[tree_sitter.Node]:
        """Yield the comments and attributes directly before a node, the nearest first."""
        for _ in range(_MAX_NODES):
            above = node.prev_named_sibling
            parent = node.parent
            while above is None and parent is not None and parent.start_byte == node.start_byte:
                above, parent = parent.prev_named_sibling, parent.parent
            if above is None or not (
                is_comment(above) or is_attribute(above) or self._is_overload(above)
            ):
                return
            yield above
            node = above

    def _is_overload(self, node: tree_sitter.Node) -> bool:
        name = overloaded_name(node)
        return name is not None and self._text(name) == self._symbol.name

    def _text(self, node: tree_sitter.Node) -> str:
        end = min(node.end_byte, node.start_byte + _MAX_COMMENT_BYTES)
        return self._offsets.source[node.start_byte : end].decode("utf-8", "replace")


def _last_row(node: tree_sitter.Node) -> int:
    """Return the last row of a node; some comments include their line end."""
    point = node.end_point
    return point.row - 1 if point.column == 0 and point.row > node.start_point.row else point.row
