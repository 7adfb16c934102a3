"""Walks syntax trees without recursion: a tree may be as deep as its text is long."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import tree_sitter


def nodes(
    root: tree_sitter.Node, enters: Callable[[tree_sitter.Node], bool] = lambda _: True
) -> Iterator[tree_sitter.Node]:
    """Yield a node and the nodes inside it, in the order of the text.

    The nodes inside a node for which `enters` returns False are left out.
    """
    cursor = root.walk()
    while True:
        node = cursor.node
        if node is None:
            return
        yield node
        if enters(node) and cursor.goto_first_child():
            continue
        while not cursor.goto_next_sibling():
            if not cursor.goto_parent():
                return


def touches(node: tree_sitter.Node, start: int, end: int) -> bool:
    """Whether a node has text, or an end, between two offsets in bytes."""
    return node.start_byte <= end and start <= node.end_byte
