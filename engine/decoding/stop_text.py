"""Stop text: ends an answer at a string, also where it comes in several pieces."""

from __future__ import annotations

from collections.abc import Sequence


class StopText:
    """Passes text on until one of some strings appears, which it swallows.

    Text that may become the start of such a string is held back. The first `ignore_first`
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
        """The part of the first line that has passed; None once a line feed cannot stop the
        text."""
        self._continue_line_after = tuple(continue_line_after)
        self._stops = tuple(stop for stop in stops if stop)
        self._begun = {stop[:size] for stop in self._stops for size in range(1, len(stop))}
        """What a stop may begin with, less than the whole."""
        self._last_letters = {begun[-1] for begun in self._begun}
        self._longest = max(map(len, self._begun), default=0)
        self._held = ""
        self.reached = False

    @property
    def ends_with_line(self) -> bool:
        """Whether the end of a line, if that is how it ends, would be the answer's now."""
        return self._line is not None

    def feed(self, text: str) -> str:
        """Add text; return what can be shown, up to the first stop."""
        if self.reached:
            return ""
        begun, text = text[: self._ignore_first], text[self._ignore_first :]
        self._ignore_first -= len(begun)
        self._held += text
        found = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if (end := self._line_end(begun)) >= 0:
            found.append(end)
        if found:
            self.reached = True
            return begun + self._take(min(found), keep=False)
        return begun + self._take(len(self._held) - self._overlap())

    def _line_end(self, begun: str) -> int:
        """Return where the held text ends the line, and with it the answer; -1 for nowhere."""
        if self._line is None:
            return -1
        self._line += begun
        end = self._held.find("\n")
        if end >= 0 and (self._line + self._held[:end]).rstrip().endswith(
            self._continue_line_after
        ):
            self._line = None
            return -1
        return end

    def flush(self) -> str:
        """Return what is held back: the answer is over and no stop can come any more."""
        return self._take(len(self._held))

    def _take(self, count: int, *, keep: bool = True) -> str:
        text, self._held = self._held[:count], self._held[count:] if keep else ""
        if self._line is not None:
            self._line += text
        return text

    def _overlap(self) -> int:
        """Length of the longest end of the held text that a stop begins with."""
        if not self._held or self._held[-1] not in self._last_letters:
            return 0
        for size in range(min(self._longest, len(self._held)), 0, -1):
            if self._held[-size:] in self._begun:
                return size
        return 0
