"""Open brackets and strings at the end of each line, according to the grammar of the language.

With a grammar, brackets in strings and comments do not count, and strings may span lines.
Incomplete code does not parse, but its tokens are correct anyway.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import tree_sitter

from fim.postprocess.bracket_scanner import CLOSERS, OPENERS, unclosed_quote
from syntax.grammars import parse

_TEMPLATE = "${"
_OPENING, _CLOSING = frozenset({*OPENERS, _TEMPLATE}), frozenset(CLOSERS)
_APOSTROPHES = frozenset({"rust", "rs", "html", "javascriptreact", "typescriptreact", "tsx"})
"""Languages in which an apostrophe is not always a quote, as in lifetimes or text between tags."""


@dataclass(frozen=True, slots=True)
class Open:
    """The brackets and strings that are open at one offset."""

    brackets: int = 0
    """Brackets opened after the cursor, minus those closed; negative if more are closed."""
    string: bool = False
    """Whether the offset is within a string that spans lines."""


def open_at_line_ends(above: str, text: str, language: str) -> list[Open] | None:
    """Return what is open at the cursor and at the end of each line of `text`.

    `above` is the text before the cursor, or the relevant part of it. The result is None for a
    language without a grammar.
    """
    root = parse(above + text, language)
    if root is None:
        return None
    cursor = len(above.encode("utf-8", "surrogatepass"))
    ends = [cursor, *_line_ends(text, cursor)]
    states: list[Open] = []
    depth, quote = 0, ""
    for leaf in _leaves(root):
        while len(states) < len(ends) and leaf.start_byte >= ends[len(states)]:
            if not states:
                depth = 0  # depth is counted from the cursor
            states.append(Open(depth, bool(quote)))
        quote = _quote_after(leaf, quote)
        if not quote:
            depth += _depth_change(leaf)
    final = Open(depth if states else 0, bool(quote))
    return [*states, *[final] * (len(ends) - len(states))]


def in_string_or_comment(above: str, language: str) -> bool:
    """Return whether the end of `above` is within a string or a comment.

    The result is False for a language without a grammar.
    """
    root = parse(above, language)
    if root is None:
        return False
    last_leaf, quote, string_end = None, "", 0
    for leaf in _leaves(root):
        previous, quote = quote, _quote_after(leaf, quote)
        if previous and not quote:
            string_end = leaf.end_byte
        if leaf.end_byte > leaf.start_byte:
            last_leaf = leaf
    if quote or last_leaf is None:
        return bool(quote)
    source = above.encode("utf-8", "surrogatepass")
    if "comment" in last_leaf.type:
        return last_leaf.end_byte == len(source) or last_leaf.end_point.row == above.count("\n")
    line = source[max(string_end, source.rfind(b"\n") + 1) :].decode("utf-8", "replace")
    quotes = '"' if language in _APOSTROPHES else "\"'"
    return unclosed_quote(line, quotes=quotes, escapes=True) is not None


def _line_ends(text: str, start: int) -> Iterator[int]:
    """Yield the byte offset of the end of each line of `text`, which starts at `start`."""
    for line in text.split("\n"):
        start += len(line.encode("utf-8", "surrogatepass"))
        yield start
        start += 1


def _depth_change(leaf: tree_sitter.Node) -> int:
    if leaf.is_missing:
        return 0
    if leaf.type in _OPENING:
        return 1
    return -1 if leaf.type in _CLOSING else 0


def _quote_after(leaf: tree_sitter.Node, quote: str) -> str:
    """Return the quote of the multi-line string that is open after a token, or empty.

    Such strings are Python's triple-quoted strings and strings in backticks.
    """
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
    pending: list[tree_sitter.Node] = [root]
    while pending:
        node = pending.pop()
        children: Sequence[tree_sitter.Node] = node.children
        if children:
            pending += reversed(children)
        else:
            yield node
