"""The functions and classes in a source file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import tree_sitter

from syntax.definitions import (
    SymbolKind,
    body_of,
    children_with_heads,
    definition,
    name_node,
)
from syntax.grammars import grammar_name, parse
from syntax.offsets import ByteOffsets, with_line_feeds
from syntax.window import near

_IMPL_NODES = {"impl_item"}
"""Nodes that contain methods but are no symbols."""
_LANGUAGES_WITHOUT_SYMBOLS = {"json", "yaml", "toml", "html", "css", "sql"}

_MAX_DEPTH = 100
"""Maximum number of symbols around a symbol. Each symbol contains the text of those inside it."""
_MAX_LINE_CHARACTERS = 2000
"""Maximum characters of a line of which the beginning and the end belong to the code on it."""
_LINE_CODE = re.compile(r"[^\S\n]*(?P<code>[^\n]*?)\s*(?:\n|\Z)")


@dataclass(frozen=True, slots=True)
class Symbol:
    """A function or class. Offsets are in code points of the file."""

    kind: SymbolKind
    name: str
    parents: tuple[str, ...]
    """Names of the classes and functions around the symbol, outermost first."""
    start: int
    """Start of the definition, including its decorators and attributes."""
    end: int
    body: int
    """Start of the body after the signature. It equals `end` if there is no body."""
    text: str
    indent: str
    """White space before the first line."""
    in_function: bool = False
    """Whether the symbol is inside a function, so that other code cannot use it."""

    @property
    def dedented(self) -> str:
        """The text without the indentation of its first line."""
        first, *rest = self.text.split("\n")
        width = len(self.indent)
        dedented = [line[width:] if line[:width].isspace() else line for line in rest]
        return "\n".join([first, *dedented])


@dataclass(frozen=True, slots=True)
class SymbolNodes:
    """The nodes of a symbol in a syntax tree."""

    head: tree_sitter.Node
    """The first attribute of the symbol; without any, the same as `outer`."""
    outer: tree_sitter.Node
    """The definition with its wrappers, such as Python's decorators."""
    inner: tree_sitter.Node
    """The definition itself."""
    kind: SymbolKind
    name: str
    parents: tuple[str, ...]
    in_function: bool


def find_symbols(text: str, language: str) -> list[Symbol]:
    """Return the symbols of a file in their order, outer ones first; none without a grammar."""
    text = with_line_feeds(text)
    root = _parse(text, language)
    if root is None:
        return []
    offsets = ByteOffsets(text)
    return [
        _symbol(entry, offsets)
        for entry in symbol_nodes(root, offsets)
        if len(entry.parents) < _MAX_DEPTH
    ]


def enclosing_symbol(text: str, language: str, start: int, end: int | None = None) -> Symbol | None:
    """Return the innermost symbol around a cursor or selection.

    The white space around a selection, and around the code of the cursor's line, does not count. A
    place outside of all symbols belongs to the only symbol that begins or ends on its line. In a
    file that is very long, only the text near the place is looked at.
    """
    entry = enclosing_nodes(text, language, start, end)
    if entry is None:
        return None
    nodes, offsets, shift = entry
    symbol = _symbol(nodes, offsets)
    return replace(
        symbol, start=symbol.start + shift, end=symbol.end + shift, body=symbol.body + shift
    )


def enclosing_nodes(
    text: str, language: str, start: int, end: int | None = None
) -> tuple[SymbolNodes, ByteOffsets, int] | None:
    """Return the nodes of the innermost symbol, the offsets in their text, and where it begins."""
    window, shift = near(text, start, start if end is None else end)
    window = with_line_feeds(window)
    first, last = _code_at(window, start - shift, (start if end is None else end) - shift)
    root = _parse(window, language)
    if root is None:
        return None
    offsets = ByteOffsets(window)
    place = _Place(offsets.to_bytes(first), offsets.to_bytes(last), offsets.source)
    nodes = place.innermost(symbol_nodes(root, offsets, place))
    return None if nodes is None else (nodes, offsets, shift)


def _parse(text: str, language: str) -> tree_sitter.Node | None:
    if grammar_name(language) in _LANGUAGES_WITHOUT_SYMBOLS:
        return None
    return parse(text, language)


def _code_at(text: str, start: int, end: int) -> tuple[int, int]:
    """Return a selection without the white space at its ends, or the cursor moved to the code."""
    selected = text[start:end]
    if selected.strip():
        return (
            start + len(selected) - len(selected.lstrip()),
            end - len(selected) + len(selected.rstrip()),
        )
    line_start = text.rfind("\n", 0, start) + 1
    if start - line_start > _MAX_LINE_CHARACTERS:
        return start, start
    match = _LINE_CODE.match(text, line_start)
    if match is None or not match["code"]:
        return start, start
    cursor = min(max(start, match.start("code")), match.end("code"))
    return cursor, cursor


class _Place:
    """A cursor or selection in a syntax tree; offsets are in bytes."""

    def __init__(self, start: int, end: int, source: bytes) -> None:
        self._start, self._end = start, end
        line_start, line_end = source.rfind(b"\n", 0, start) + 1, source.find(b"\n", end)
        line_end = len(source) if line_end < 0 else line_end
        is_long = line_end - line_start - (end - start) > _MAX_LINE_CHARACTERS
        self._line_start = start if is_long else line_start
        self._line_end = end if is_long else line_end
        first_line_end, last_line_start = source.find(b"\n", start), source.rfind(b"\n", 0, end) + 1
        self._first_line_end = self._line_end if is_long or first_line_end < 0 else first_line_end
        self._last_line_start = end if is_long else last_line_start

    def is_near(self, head: tree_sitter.Node, node: tree_sitter.Node) -> bool:
        """Whether a node is on the lines of this place."""
        return head.start_byte <= self._line_end and self._line_start <= node.end_byte

    def innermost(self, candidates: Iterator[SymbolNodes]) -> SymbolNodes | None:
        """Return the innermost symbol around this place, or the only one on its line."""
        around: SymbolNodes | None = None
        on_line: list[SymbolNodes] = []
        for entry in candidates:
            if entry.head.start_byte <= self._start and self._end <= entry.outer.end_byte:
                around, on_line = entry, []
            elif self._begins_or_ends_here(entry) and not any(
                entry.outer.end_byte <= other.outer.end_byte for other in on_line
            ):
                on_line.append(entry)
        if len(on_line) == 1 and not (around is not None and self._begins_or_ends_here(around)):
            return on_line[0]
        return around

    def _begins_or_ends_here(self, entry: SymbolNodes) -> bool:
        begins = self._line_start <= entry.head.start_byte <= self._line_end
        ends = self._line_start <= entry.outer.end_byte <= self._line_end
        covers_first_line = entry.head.start_byte <= self._first_line_end
        covers_last_line = self._last_line_start <= entry.outer.end_byte
        return covers_first_line and covers_last_line and (begins or ends)


def symbol_nodes(
    root: tree_sitter.Node, offsets: ByteOffsets, place: _Place | None = None
) -> Iterator[SymbolNodes]:
    """Yield the symbols in a tree, outer ones first; with `place`, only those near it."""
    pending: list[tuple[tree_sitter.Node, tree_sitter.Node, tuple[str, ...], bool]]
    pending = [(root, root, (), False)]
    while pending:
        node, head, parents, in_function = pending.pop()
        inner, kind = definition(node)
        name = "" if kind is None else _text_of(name_node(inner), offsets)
        if kind is not None and name:
            parents = _go_receiver(inner, offsets) or parents
            yield SymbolNodes(head, node, inner, kind, name, parents, in_function)
            in_function = in_function or kind == "function"
            parents = (*parents, name)[:_MAX_DEPTH]
        elif inner.type in _IMPL_NODES:
            implemented = _text_of(inner.child_by_field_name("type"), offsets)
            parents = (*parents, re.sub(r"<.*", "", implemented, flags=re.DOTALL))[:_MAX_DEPTH]
        inside = [
            (child, first, parents, in_function)
            for child, first in children_with_heads(inner)
            if place is None or place.is_near(first, child)
        ]
        pending += reversed(inside)


def _go_receiver(node: tree_sitter.Node, offsets: ByteOffsets) -> tuple[str, ...]:
    """Return the type of a Go method's receiver; nothing for other symbols."""
    receiver = node.child_by_field_name("receiver")
    if node.type != "method_declaration" or receiver is None:
        return ()
    receiver_type = _text_of(receiver, offsets).split()[-1]
    return (re.sub(r"[()*\s]|\[.*?\]|^.*\s", "", receiver_type),)


def _symbol(entry: SymbolNodes, offsets: ByteOffsets) -> Symbol:
    body = body_of(entry.inner)
    start = offsets.to_characters(entry.head.start_byte)
    end = offsets.to_characters(entry.outer.end_byte)
    text = offsets.text
    before = text[text.rfind("\n", 0, start) + 1 : start]
    return Symbol(
        kind=entry.kind,
        name=entry.name,
        parents=entry.parents,
        start=start,
        end=end,
        body=offsets.to_characters(body.start_byte) if body is not None else end,
        text=text[start:end],
        indent=before if before.isspace() else before[: len(before) - len(before.lstrip())],
        in_function=entry.in_function,
    )


def _text_of(node: tree_sitter.Node | None, offsets: ByteOffsets) -> str:
    if node is None:
        return ""
    return offsets.source[node.start_byte : node.end_byte].decode("utf-8", "replace")
