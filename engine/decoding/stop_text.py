"""Stop text: strings that end the output, also when they arrive in several pieces."""

from __future__ import annotations

from collections.abc import Sequence


class StopText:
    """Passes text on until a stop string appears. The stop string itself is dropped.

    Text that may become the start of a stop string is held back. The first `ignore_first`
    characters are never searched. `single_line` and `continue_line_after` are those of
    `engine.api.GenerationRequest`. Time and memory are proportional to the text and the stop
    strings.
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
        self._line: list[str] | None = [] if single_line else None
        """The pieces of the first line that have passed; None if a line feed does not stop the
        text."""
        self._continue_line_after = tuple(continue_line_after)
        self._searches = tuple(_Search(stop) for stop in stops if stop)
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
        num_pending = len(self._pending)
        results = [each.feed(text) for each in self._searches]
        starts = [num_pending + start for start in results if start is not None]
        if (line_end := self._line_end(ignored, text)) is not None:
            starts.append(line_end)
        self._pending += text
        if starts:
            self.reached = True
            return ignored + self._take(min(starts), keep=False)
        num_to_hold = max((each.num_matched for each in self._searches), default=0)
        return ignored + self._take(len(self._pending) - num_to_hold)

    def flush(self) -> str:
        """Return the text that is held back, at the end of the output."""
        return self._take(len(self._pending))

    def _line_end(self, ignored: str, text: str) -> int | None:
        """Return the index, in the held text followed by `text`, of the line feed that stops it.

        `text` is not held yet. The held text has no line feed that stops it.
        """
        if self._line is None:
            return None
        self._line.append(ignored)
        end = text.find("\n")
        if end < 0:
            return None
        line = "".join((*self._line, self._pending, text[:end]))
        if line.rstrip().endswith(self._continue_line_after):
            self._line = None
            return None
        return len(self._pending) + end

    def _take(self, count: int, *, keep: bool = True) -> str:
        text, self._pending = self._pending[:count], self._pending[count:] if keep else ""
        if self._line is not None:
            self._line.append(text)
        return text


class _Search:
    """The search for one string in text that arrives in pieces (Knuth, Morris and Pratt 1977)."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._borders = [0]
        """Entry n is the length of the longest end of the first n + 1 characters that is also their
        start, and is not all of them. Only the entries that the text has needed are computed."""
        self.num_matched = 0
        """Number of characters at the end of the text that are the start of the string."""

    def feed(self, text: str) -> int | None:
        """Add text; return where in it the string starts, None if it has not appeared.

        The start is negative if the string began in earlier text.
        """
        target, matched = self._target, self.num_matched
        index, size = 0, len(text)
        while index < size:
            if matched == 0:
                index = text.find(target[0], index)
                if index < 0:
                    break
            letter = text[index]
            while matched and letter != target[matched]:
                matched = self._border(matched)
            if letter == target[matched]:
                matched += 1
            index += 1
            if matched == len(target):
                self.num_matched = 0
                return index - matched
        self.num_matched = matched
        return None

    def _border(self, count: int) -> int:
        """Return the entry of `_borders` for the first `count` characters, at least one."""
        borders, target = self._borders, self._target
        while len(borders) < count:
            letter, border = target[len(borders)], borders[-1]
            while border and letter != target[border]:
                border = borders[border - 1]
            borders.append(border + 1 if letter == target[border] else border)
        return borders[count - 1]
