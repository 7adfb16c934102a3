"""Stop text: strings that end the output, also when they arrive in several pieces."""

from __future__ import annotations

from collections.abc import Sequence


class StopText:
    """Passes text on until a stop string appears. The stop string itself is dropped.

    Text that may become the start of a stop string is held back. The first `ignore_first`
    characters are never searched. `single_line` and `continue_line_after` are those of
    `engine.api.GenerationRequest`.
    """

    def __init__(
        self,
        stops: Sequence[str],
        ignore_first: int = 0,
        *,
        single_line: bool = False,
        continue_line_after: Sequence[str] = (),
    ) -> None:
        self._ignore_first = ignore_first
        self._line: str | None = "" if single_line else None
        """The part of the first line that has passed; None if a line feed does not stop the
        text."""
        self._continue_line_after = tuple(continue_line_after)
        self._stops = tuple(stop for stop in stops if stop)
        self._starts = {stop[:size] for stop in self._stops for size in range(1, len(stop))}
        """All proper prefixes of the stop strings."""
        self._last_letters = {start[-1] for start in self._starts}
        self._longest = max(map(len, self._starts), default=0)
        self._pending = ""
        self.reached = False
        """Whether a stop string has appeared."""

    @property
    def ends_with_line(self) -> bool:
        """Whether a line feed may still stop the text."""
        return self._line is not None

    def feed(self, text: str) -> str:
        """Add text; return the text that can be passed on, up to the first stop string."""
        if self.reached:
            return ""
        ignored, text = text[: self._ignore_first], text[self._ignore_first :]
        self._ignore_first -= len(ignored)
        self._pending += text
        ends = [end for stop in self._stops if (end := self._pending.find(stop)) >= 0]
        if (line_end := self._line_end(ignored)) >= 0:
            ends.append(line_end)
        if ends:
            self.reached = True
            return ignored + self._take(min(ends), keep=False)
        return ignored + self._take(len(self._pending) - self._overlap())

    def flush(self) -> str:
        """Return the text that is held back, at the end of the output."""
        return self._take(len(self._pending))

    def _line_end(self, ignored: str) -> int:
        """Return the index in the held text of the line feed that stops it, or -1."""
        if self._line is None:
            return -1
        self._line += ignored
        end = self._pending.find("\n")
        line = self._line + self._pending[:end]
        if end >= 0 and line.rstrip().endswith(self._continue_line_after):
            self._line = None
            return -1
        return end

    def _take(self, count: int, *, keep: bool = True) -> str:
        text, self._pending = self._pending[:count], self._pending[count:] if keep else ""
        if self._line is not None:
            self._line += text
        return text

    def _overlap(self) -> int:
        """Return the length of the longest end of the held text that starts a stop string."""
        if not self._pending or self._pending[-1] not in self._last_letters:
            return 0
        for size in range(min(self._longest, len(self._pending)), 0, -1):
            if self._pending[-size:] in self._starts:
                return size
        return 0
