"""What is open at the end of each line of an answer: brackets, and strings of several lines.

The tokens are the grammar's, so a bracket in a string or comment does not count. An answer that is
being written does not parse; its tokens are found all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import tree_sitter

from syntax.grammars import parse

_OPENING, _CLOSING = frozenset("([{"), frozenset(")]}")
_TEMPLATE = "${"
_APOSTROPHES = frozenset({"rust", "rs", "html", "javascriptreact", "typescriptreact", "tsx"})
"""Languages in which an apostrophe alone is no quote: lifetimes, text between tags."""


@dataclass(frozen=True, slots=True)
class Open:
    """What is open at a place, counted from the cursor."""

    brackets: int = 0
    """Opened since the cursor, less those closed: negative where one from before is closed."""
    string: bool = False
    """Whether the place is within a string that spans lines."""


def open_at_line_ends(above: str, answer: str, language: str) -> list[Open] | None:
    """Return what is open at the cursor, then at the end of each line of `answer`.

    `above` is the text before the cursor, as much of it as matters. None without a grammar.
    """
    root = parse(above + answer, language)
    if root is None:
        return None
    cursor = len(above.encode("utf-8", "surrogatepass"))
    ends = [cursor, *_line_ends(answer, cursor)]
    found: list[Open] = []
    depth, quote, before = 0, "", True
    for leaf in _leaves(root):
        while len(found) < len(ends) and leaf.start_byte >= ends[len(found)]:
            if before:
                depth, before = 0, False
            found.append(Open(depth, bool(quote)))
        quote = _quote_after(leaf, quote)
        if not quote:
            depth += _change(leaf)
    rest = len(ends) - len(found)
    return [*found, *([Open(0 if before else depth, bool(quote))] * rest)]


def in_string_or_comment(above: str, language: str) -> bool:
    """Whether the end of a text is within a string or a comment; False without a grammar."""
    root = parse(above, language)
    if root is None:
        return False
    last, quote, closed = None, "", 0
    for leaf in _leaves(root):
        before, quote = quote, _quote_after(leaf, quote)
        closed = leaf.end_byte if before and not quote else closed
        last = leaf if leaf.end_byte > leaf.start_byte else last
    if quote or last is None:
        return bool(quote)
    source = above.encode("utf-8", "surrogatepass")
    if "comment" in last.type:
        return last.end_byte == len(source) or last.end_point.row == above.count("\n")
    line = source[max(closed, source.rfind(b"\n") + 1) :].decode("utf-8", "replace")
    return _open_quote(line, '"' if language in _APOSTROPHES else "\"'")


def _open_quote(line: str, quotes: str) -> bool:
    """Whether a line ends within a string of one line."""
    quote, escaped = "", False
    for character in line:
        if escaped:
            escaped = False
        elif character == "\\":
            escaped = True
        elif quote:
            quote = "" if character == quote else quote
        elif character in quotes:
            quote = character
    return bool(quote)


def _line_ends(answer: str, start: int) -> Iterator[int]:
    for line in answer.split("\n"):
        start += len(line.encode("utf-8", "surrogatepass"))
        yield start
        start += 1


def _change(leaf: tree_sitter.Node) -> int:
    if leaf.is_missing:
        return 0
    return (leaf.type in _OPENING or leaf.type == _TEMPLATE) - (leaf.type in _CLOSING)


def _quote_after(leaf: tree_sitter.Node, quote: str) -> str:
    """Return the quote that is open after a token: Python's three, or a backtick."""
    kind = leaf.type
    if kind == "string_start":
        text = (leaf.text or b"")[-3:].decode("utf-8", "replace")
        return text if text in ('"""', "'''") else quote
    if kind == "string_end":
        return ""
    if kind == "`":
        return "" if quote else "`"
    return quote


def _leaves(root: tree_sitter.Node) -> Iterator[tree_sitter.Node]:
    waiting: list[tree_sitter.Node] = [root]
    while waiting:
        node = waiting.pop()
        children: Sequence[tree_sitter.Node] = node.children
        if children:
            waiting += reversed(children)
        else:
            yield node
