"""The parts of a memory: texts that are indexed together, and texts that are not indexed yet."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from fim.memory.suffix_index import SuffixIndex


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A version of a document in a segment."""

    key: str
    size: int
    """Number of characters."""


@dataclass(frozen=True, eq=False)
class Segment:
    """Versions of some documents that are indexed together."""

    entries: tuple[Entry, ...]
    index: SuffixIndex

    @cached_property
    def size(self) -> int:
        """Number of characters of all versions."""
        return sum(entry.size for entry in self.entries)


class Text:
    """A text that is not indexed yet."""

    def __init__(self, raw: str) -> None:
        self._raw = raw

    @cached_property
    def lines(self) -> str:
        """The text with `\\n` as line ending."""
        return with_line_feeds(self._raw)


def with_line_feeds(text: str) -> str:
    """Return a text with `\n` as line ending."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
