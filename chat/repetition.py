"""Detect that a model repeats itself, so that its answer can be stopped early.

Code may well repeat lines: `queue.pop()` in a test, the rows of an empty board, equal entries of a
template. So an answer is stopped only after many equal lines, or after hundreds of characters that
repeat within a line. Lines that differ in a number are never a loop. `fim.postprocess.repetition`
has stricter limits for short suggestions: it also removes the second of two equal lines.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import pairwise

_MAX_LOOP_LINES = 8
"""Largest number of lines that are compared with the lines after them."""
_MIN_REPEATS = 3
"""Minimum number of times that a text follows its first occurrence."""
_MIN_LINES = 15
"""Minimum number of lines in these repeats: more than the rows of most boards and matrices."""
_MIN_CHARACTERS = 800
"""Number of characters in these repeats that is enough without `_MIN_LINES`, for long lines."""
_STEP = 100
"""Number of characters after which a long line is examined again."""


@dataclass(frozen=True, slots=True)
class Loop:
    """A repetition in a text."""

    first_end: int
    """Offset after the first occurrence of what repeats. Within a line it may be a later one."""
    end: int
    """Offset at which the repetition became long enough to be a loop."""


@dataclass(frozen=True, slots=True)
class _LineStart:
    number: int
    offset: int


class LoopDetector:
    """Finds the first loop of a text that arrives in pieces. The time per character is bounded."""

    def __init__(self) -> None:
        self._line = _Line()
        """The unfinished line."""
        self._recent: deque[str] = deque(maxlen=_MAX_LOOP_LINES)
        """The last complete lines."""
        self._start = _LineStart(0, 0)
        """Start of the unfinished line."""
        self._repeats = [self._start] * (_MAX_LOOP_LINES + 1)
        """By number of lines: start of the first line since which all equal those before them."""

    def feed(self, piece: str) -> Loop | None:
        """Add a piece and return the loop that it completes. Feed nothing after a loop."""
        for index, part in enumerate(piece.split("\n")):
            if index > 0 and (loop := self._end_line()) is not None:
                return loop
            if (loop := self._line.feed(part)) is not None:
                return Loop(self._start.offset + loop.first_end, self._start.offset + loop.end)
        return None

    def _end_line(self) -> Loop | None:
        line, self._line = self._line.text(), _Line()
        self._start = _LineStart(self._start.number + 1, self._start.offset + len(line) + 1)
        for num_lines in range(1, _MAX_LOOP_LINES + 1):
            if len(self._recent) < num_lines or self._recent[-num_lines] != line:
                self._repeats[num_lines] = self._start
        self._recent.append(line)
        for num_lines in range(1, _MAX_LOOP_LINES + 1):
            if self._is_loop(num_lines):
                return Loop(self._repeats[num_lines].offset, self._start.offset)
        return None

    def _is_loop(self, num_lines: int) -> bool:
        first = self._repeats[num_lines]
        num_repeated = self._start.number - first.number
        num_characters = self._start.offset - first.offset
        is_long = num_repeated >= _MIN_LINES or num_characters >= _MIN_CHARACTERS
        return is_long and num_repeated >= num_lines * _MIN_REPEATS


class _Line:
    """A line that arrives in pieces."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._length = 0
        self._tail = ""
        """The last `_MIN_CHARACTERS` characters."""

    def text(self) -> str:
        return "".join(self._pieces)

    def feed(self, piece: str) -> Loop | None:
        """Add a piece and return the loop within the line that it completes."""
        next_check = _STEP - self._length % _STEP
        for start, end in pairwise([0, *range(next_check, len(piece), _STEP), len(piece)]):
            part = piece[start:end]
            self._pieces.append(part)
            self._length += len(part)
            self._tail = (self._tail + part)[-_MIN_CHARACTERS:]
            if self._length % _STEP == 0 and (period := _period(self._tail)) is not None:
                return Loop(self._length - len(self._tail) + period, self._length)
        return None


def _period(tail: str) -> int | None:
    """Return the length of the text whose repeats make up the tail; None if it is no repetition."""
    if len(tail) < _MIN_CHARACTERS:
        return None
    periods = range(1, len(tail) // (_MIN_REPEATS + 1) + 1)
    return next((period for period in periods if tail[period:] == tail[:-period]), None)


def without_loop(text: str) -> str:
    """Return the text without the repeats of its first loop and what follows, if it has one."""
    loop = LoopDetector().feed(text)
    return text if loop is None else text[: loop.first_end]
