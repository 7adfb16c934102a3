"""Mutations as edits of a text in UTF-8."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import tree_sitter

Kind = Literal[
    "condition",
    "comparison",
    "arithmetic",
    "result",
    "logic",
    "boolean",
    "number",
    "assignment",
    "jump",
    "call",
    "string",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""All kinds; of two that were used equally often, the first one is used next."""
_MAX_SHOWN = 40
"""Maximum characters of code in a description."""


@dataclass(frozen=True, slots=True)
class Edit:
    """A mutation. Offsets are in bytes."""

    start: int
    end: int
    replacement: str
    kind: Kind
    branch: int
    """Where the branch of the code that contains it begins."""
    description: str


class Editor:
    """Makes the edits of one text."""

    def __init__(self, source: bytes) -> None:
        self.source = source

    def text(self, node: tree_sitter.Node) -> str:
        """Return the text of a node, in which surrogates are kept."""
        return self.source[node.start_byte : node.end_byte].decode("utf-8", "surrogatepass")

    def replaced(
        self, node: tree_sitter.Node, replacement: str, kind: Kind, branch: int
    ) -> Iterator[Edit]:
        """Yield the edit that replaces a node, with a description that shows both texts."""
        description = f"{short(self.text(node))} became {short(replacement)}"
        yield from self.edit(node, replacement, kind, branch, description)

    def edit(
        self, node: tree_sitter.Node, replacement: str, kind: Kind, branch: int, description: str
    ) -> Iterator[Edit]:
        """Yield the edit that replaces a node, nothing for a node that is missing in the text."""
        start, end = node.start_byte, node.end_byte
        if start == end:
            return
        if _is_word(self.source[start - 1 : start]) and _is_word(replacement[:1].encode()):
            replacement = f" {replacement}"
        if _is_word(self.source[end : end + 1]) and _is_word(replacement[-1:].encode()):
            replacement = f"{replacement} "
        yield Edit(start, end, replacement, kind, branch, description)


def short(code: str) -> str:
    """Return code on one line, without its end if it is long."""
    line = " ".join(code.split())
    return line if len(line) <= _MAX_SHOWN else f"{line[: _MAX_SHOWN - 1]}…"


def _is_word(character: bytes) -> bool:
    return character.isalnum() or character == b"_" or character > b"\x7f"
