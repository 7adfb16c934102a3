"""Simulates a user who types a passage of a file and accepts the suggestions that are correct.

The editor behaves as VS Code does by default:

- A line feed inserts the indentation.
- An opening bracket or quote inserts the closing one, except in strings and comments.
- Typing a closing bracket or quote that the editor inserted moves the cursor over it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Protocol

from fim.evaluation.counts import (
    LATE,
    AcceptedPart,
    GhostText,
    Passage,
    ShownSuggestion,
    TypingCounts,
)
from fim.evaluation.faults import breaks_syntax, doubles_bracket, parses, repeats_suffix
from fim.evaluation.keystrokes import first_lines, first_words, indentation, keys, next_key, words

_CLOSERS = {"(": ")", "[": "]", "{": "}", '"': '"', "'": "'"}
_BEFORE_THESE = ";:.,=}])> \n\t"
"""Characters before which VS Code inserts a closing bracket; it also does so at the end."""
_STRING = re.compile(r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'")


_LARGEST_FIRST = (AcceptedPart.WHOLE, AcceptedPart.LINE, AcceptedPart.WORD, AcceptedPart.NONE)


class Editor(Protocol):
    """An editor with one document."""

    text: str
    cursor: int

    @property
    def calls(self) -> int:
        """Number of requests to the model so far."""

    async def press(
        self, key: str, pause: float, *, removed: int = 0, text_after: str = ""
    ) -> GhostText | None:
        """Press a key and wait for `pause` seconds; return None without a result in that time.

        The key replaces `removed` characters right of the cursor, and the cursor moves to the end
        of `key`. `text_after` is inserted right of the cursor.
        """


class Typist:
    """Types one passage at the cursor of an editor."""

    def __init__(
        self,
        editor: Editor,
        passage: Passage,
        rhythm: Iterator[float],
        accept: AcceptedPart = AcceptedPart.LINE,
        *,
        closing: bool = True,
    ) -> None:
        """Type with the pauses of `rhythm`, in seconds.

        `accept` is the smallest part of a suggestion that is accepted. `closing` is whether the
        editor inserts closing brackets.
        """
        self._editor, self._passage, self._rhythm = editor, passage, rhythm
        self._accepted_parts = _LARGEST_FIRST[: _LARGEST_FIRST.index(accept) + 1]
        self._closing = closing
        self._remaining = passage.file.text[passage.start : passage.end]
        self._closed = ""
        """The text right of the cursor that the editor inserted by itself."""
        self._on_screen = ""
        """The ghost text that the editor shows."""
        file, plain_keys = passage.file, sum(1 for _ in keys(self._remaining))
        self.counts = TypingCounts(passage.name, file.language, plain_keys, sample=file.sample)

    async def type(self) -> TypingCounts:
        """Type the passage to its end."""
        calls_before = self._editor.calls
        while self._remaining:
            ghost = await self._press_next()
            while (part := self._choose(ghost)) is not AcceptedPart.NONE and ghost is not None:
                ghost = await self._accept(ghost, part)
        if self._closed:
            await self._press("", removed=len(self._closed))  # remove superfluous brackets
            self._closed = ""
        self.counts.calls = self._editor.calls - calls_before
        return self.counts

    async def _press_next(self) -> GhostText | None:
        key = next_key(self._remaining, line_is_empty=not self._line)
        self._remaining = self._remaining[len(key) :]
        closed = self._closed
        blank = len(closed) - len(closed.lstrip())
        if key[0] == "\n":
            closing_follows = bool(closed) and self._remaining.startswith(closed[blank])
            if not closed.strip() or closing_follows or blank:
                self._closed = closed[blank:] if closing_follows else closed
                return await self._press(key, removed=blank if closing_follows else 0)
            # The editor moves the closing bracket to a new line.
            self._closed = "\n" + indentation(self._line) + closed
            return await self._press(key, removed=len(closed), text_after=self._closed)
        if closed.strip() and closed[blank] == key:
            self._closed = closed[blank + 1 :]
            return await self._press(key, removed=blank + 1)
        closer = self._closer(key)
        self._closed = closer + closed
        return await self._press(key, text_after=closer)

    def _closer(self, key: str) -> str:
        """Return the closing bracket or quote that the editor inserts after a key, or empty."""
        closer = _CLOSERS.get(key, "")
        following = self._editor.text[self._editor.cursor :][:1]
        if not (self._closing and closer) or (following and following not in _BEFORE_THESE):
            return ""
        line = self._line
        before = self._editor.text[: self._editor.cursor]
        if _in_string_or_comment(before, line):
            return ""
        if key in "\"'" and line and (line[-1].isalnum() or line[-1] in "_\"'"):
            return ""
        return closer

    @property
    def _line(self) -> str:
        """The cursor's line, up to the cursor."""
        return self._editor.text[: self._editor.cursor].rpartition("\n")[2]

    async def _press(self, key: str, removed: int = 0, text_after: str = "") -> GhostText | None:
        self.counts.keys += 1
        is_after_first = bool(self.counts.shown)
        pause = next(self._rhythm)
        ghost = await self._editor.press(key, pause, removed=removed, text_after=text_after)
        if is_after_first:
            source = LATE if ghost is None else ghost.source
            _count(self.counts.results, source)
            if ghost is not None and ghost.text:
                _count(self.counts.results_with_suggestion, source)
        agrees = self._on_screen.startswith(key)
        rest_on_screen = self._on_screen[len(key) :] if agrees else ""
        if ghost is not None and ghost.text and ghost.text != rest_on_screen:
            self._record(ghost)
        # Until a result arrives, editors go on showing the rest of the ghost text.
        self._on_screen = rest_on_screen if ghost is None else ghost.text
        return ghost

    def _record(self, ghost: GhostText) -> None:
        """Record a suggestion that has just appeared on the screen."""
        text, cursor, replaced = self._editor.text, self._editor.cursor, len(ghost.replaced)
        language = self._passage.file.language
        kept = next(part for part in _LARGEST_FIRST if self._correct_text(ghost, part) is not None)
        repeats = repeats_suffix(text, cursor, ghost.text, replaced)
        self.counts.shown.append(
            ShownSuggestion(
                text=ghost.text,
                replaced=ghost.replaced,
                line=self._line,
                source=ghost.source,
                milliseconds=ghost.milliseconds,
                kept=kept,
                parsed=parses(text, language),
                broke=breaks_syntax(text, cursor, ghost.text, replaced, language),
                doubled=doubles_bracket(text, cursor, ghost.text, replaced),
                repeated=repeats and not self._remaining.startswith(ghost.text),
            )
        )

    def _choose(self, ghost: GhostText | None) -> AcceptedPart:
        """Return the largest part of a suggestion that is correct and may be accepted."""
        if ghost is None or not ghost.text:
            return AcceptedPart.NONE
        correct = (part for part in self._accepted_parts if self._correct_text(ghost, part))
        return next(correct, AcceptedPart.NONE)

    def _correct_text(self, ghost: GhostText, part: AcceptedPart) -> str | None:
        """Return a part of a suggestion if the file continues with it, else None."""
        if part is AcceptedPart.NONE:
            return ""
        text, remaining = ghost.text, self._remaining
        if part is AcceptedPart.WHOLE:
            num_replaced = len(ghost.replaced)
            fits = remaining.startswith(text) and num_replaced <= len(self._closed)
            return text if fits and not self._doubles_bracket(text, num_replaced) else None
        if part is AcceptedPart.LINE:
            beginning = first_lines(text, remaining)
        else:
            beginning = first_words(text, remaining)
        return beginning if beginning and not self._doubles_bracket(beginning, 0) else None

    def _doubles_bracket(self, text: str, replaced: int) -> bool:
        return doubles_bracket(self._editor.text, self._editor.cursor, text, replaced)

    async def _accept(self, ghost: GhostText, part: AcceptedPart) -> GhostText | None:
        text = self._correct_text(ghost, part)
        assert text
        removed = len(ghost.replaced) if part is AcceptedPart.WHOLE else 0
        self._remaining = self._remaining[len(text) :]
        self._closed = self._closed[removed:]
        self.counts.accepted_characters += len("".join(map(str.strip, text.split("\n"))))
        _count(self.counts.accepted, part)
        if part is AcceptedPart.WORD:
            # Each word is accepted by one key press. `_press` counts that of the last word.
            self.counts.keys += len(words(text)) - 1
        self._on_screen = ghost.text
        return await self._press(text, removed=removed)


def _in_string_or_comment(before: str, line: str) -> bool:
    if before.count('"""') % 2 or before.count("'''") % 2:
        return True
    without_strings = _STRING.sub("", line)
    return any(mark in without_strings for mark in ("#", "//", '"', "'"))


def _count(counts: dict[str, int], name: str) -> None:
    counts[str(name)] = Counter(counts)[str(name)] + 1
