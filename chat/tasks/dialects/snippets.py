"""Find complete definitions in code that a model wrote and that may be broken elsewhere."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator
from itertools import pairwise

import tree_sitter

from chat.tasks.dialects.base import Snippet
from syntax.grammars import parse


def find_snippets(
    code: str,
    language: str,
    starts: re.Pattern[str],
    node_types: frozenset[str],
    name_of: Callable[[str], str],
    around: tuple[str, str] = ("", ""),
) -> Iterator[Snippet]:
    """Yield the snippets that begin at a match of `starts` and parse without an error.

    Each snippet is parsed on its own, so a broken one does not affect the others. `around` is code
    that is put before and after the snippet for parsing, such as a class around a method.
    """
    positions = [match.start() for match in starts.finditer(code)]
    for start, end in pairwise([*positions, len(code)]):
        candidate = textwrap.dedent(code[start:end]).lstrip()
        root = parse(around[0] + candidate + around[1], language)
        if root is None:
            return
        node = _outermost_node_at(root, len(around[0].encode()), node_types)
        if node is not None and not node.has_error:
            text = (node.text or b"").decode("utf-8", "replace")
            yield Snippet(name_of(text), text)


def _outermost_node_at(
    root: tree_sitter.Node, start_byte: int, node_types: frozenset[str]
) -> tree_sitter.Node | None:
    queue = [root]
    while queue:
        node = queue.pop(0)
        if node.type in node_types and node.start_byte == start_byte:
            return node
        queue += [child for child in node.named_children if child.end_byte > start_byte]
    return None


def first_group(pattern: re.Pattern[str], text: str) -> str:
    """Return the first group of the first match of a pattern, "" if there is no match."""
    match = pattern.search(text)
    return match[1] if match else ""
