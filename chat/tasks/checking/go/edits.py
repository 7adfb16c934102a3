"""Edits of nodes of a Go test, with marks at the lines that have observed values."""

from __future__ import annotations

from dataclasses import dataclass, field

import tree_sitter

from chat.tasks.checking.runner import MARK

MARKED = f"// {MARK}"
"""The comment at an expected value that was observed."""


@dataclass
class Edits:
    """Replacements of nodes of a text."""

    text: str
    _edits: dict[tuple[int, int], str] = field(default_factory=dict)
    _marked: set[int] = field(default_factory=set)
    """The lines that get a mark."""

    def replace(self, node: tree_sitter.Node, new: str, *, is_marked: bool = False) -> None:
        """Replace a node. The last replacement of a node counts."""
        self._edits[node.start_byte, node.end_byte] = new
        if is_marked:
            self._marked.add(node.end_point[0])

    def insert_before_end(self, row: tree_sitter.Node, element: str) -> None:
        """Add an element to a literal in braces."""
        separator = ", " if row.named_children else ""
        last = row.named_children[-1].end_byte if row.named_children else row.end_byte - 1
        self._edits[last, last] = separator + element
        self._marked.add(row.end_point[0])

    def indent_of(self, node: tree_sitter.Node) -> str:
        """Return the tabs at the beginning of a node's line."""
        line = self.text.split("\n")[node.start_point[0]]
        return line[: len(line) - len(line.lstrip("\t"))]

    def applied(self) -> str:
        """Return the text with all replacements, and marks at the ends of lines."""
        data = self.text.encode()
        edits = [(start, end, new.encode()) for (start, end), new in self._edits.items()]
        ends = _line_ends(data)
        edits += [(ends[line], ends[line], f" {MARKED}".encode()) for line in self._marked]
        ordered = sorted(edits, key=lambda edit: (edit[0], edit[1]), reverse=True)
        for start, end, new in ordered:
            data = data[:start] + new + data[end:]
        return data.decode()


def _line_ends(data: bytes) -> list[int]:
    ends, position = [], 0
    for line in data.split(b"\n"):
        ends.append(position + len(line))
        position += len(line) + 1
    return ends
