"""Somebody types what a file had, in an editor that closes brackets, and takes what is right.

The editor behaves as VS Code does by default: a line end brings the indentation, an opening bracket
or quote its closing one unless in a string or comment, and typing what it closed steps over it.
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
"""VS Code closes a bracket only before one of these, or at the end."""
_STRING = re.compile(r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'")


_AS_MUCH = (AcceptedPart.WHOLE, AcceptedPart.LINE, AcceptedPart.WORD, AcceptedPart.NONE)


class Editor(Protocol):
    """What a typist sits at."""

    text: str
    cursor: int

    @property
    def calls(self) -> int:
        """How often the model was asked so far."""

    async def press(
        self, key: str, pause: float, *, removed: int = 0, text_after: str = ""
    ) -> GhostText | None:
        """Put `key` in place of `removed` characters, step behind it, and wait for `pause` seconds.

        `text_after` is put right of the cursor. None where no answer came in time.
        """


class Typist:
    """Types one passage at the editor's cursor."""

    def __init__(
        self,
        editor: Editor,
        passage: Passage,
        rhythm: Iterator[float],
        accept: AcceptedPart = AcceptedPart.LINE,
        *,
        closing: bool = True,
    ) -> None:
        """Accept suggestions as a whole, or also their first lines, or also their first words."""
        self._editor, self._passage, self._rhythm = editor, passage, rhythm
        self._taken = _AS_MUCH[: _AS_MUCH.index(accept) + 1]
        self._closing = closing
        self._left = passage.file.text[passage.start : passage.end]
        self._closed = ""
        """What the editor closed by itself, right of the cursor."""
        self._on_screen = ""
        self.counts = TypingCounts(
            passage.name, passage.file.language, sum(1 for _ in keys(self._left))
        )

    async def type(self) -> TypingCounts:
        """Type it to its end."""
        before = self._editor.calls
        while self._left:
            ghost = await self._press_next()
            while (part := self._consider(ghost)) is not AcceptedPart.NONE and ghost is not None:
                ghost = await self._accept(ghost, part)
        if self._closed:
            await self._press("", removed=len(self._closed))  # closed for nothing: taken away
            self._closed = ""
        self.counts.calls = self._editor.calls - before
        return self.counts

    async def _press_next(self) -> GhostText | None:
        key = next_key(self._left, fresh=not self._line)
        self._left = self._left[len(key) :]
        closed = self._closed
        blank = len(closed) - len(closed.lstrip())
        if key[0] == "\n":
            closing_follows = bool(closed) and self._left.startswith(closed[blank])
            if not closed.strip() or closing_follows or blank:
                self._closed = closed[blank:] if closing_follows else closed
                return await self._press(key, removed=blank if closing_follows else 0)
            # The editor puts the closing bracket on a line of its own.
            self._closed = "\n" + indentation(self._line) + closed
            return await self._press(key, removed=len(closed), text_after=self._closed)
        if closed.strip() and closed[blank] == key:
            self._closed = closed[blank + 1 :]
            return await self._press(key, removed=blank + 1)
        closer = self._closer(key)
        self._closed = closer + closed
        return await self._press(key, text_after=closer)

    def _closer(self, key: str) -> str:
        """Return what the editor closes a key with, which may be nothing."""
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
        return self._editor.text[: self._editor.cursor].rpartition("\n")[2]

    async def _press(self, key: str, removed: int = 0, text_after: str = "") -> GhostText | None:
        self.counts.keys += 1
        after_first = bool(self.counts.shown)
        pause = next(self._rhythm)
        ghost = await self._editor.press(key, pause, removed=removed, text_after=text_after)
        if after_first:
            source = LATE if ghost is None else ghost.source
            _count(self.counts.answers, source)
            if ghost is not None and ghost.text:
                _count(self.counts.helped, source)
        along = self._on_screen.startswith(key)
        left_on_screen = self._on_screen[len(key) :] if along else ""
        if ghost is not None and ghost.text and ghost.text != left_on_screen:
            self._note(ghost)
        # Until an answer comes, an editor goes on showing what is typed along.
        self._on_screen = left_on_screen if ghost is None else ghost.text
        return ghost

    def _note(self, ghost: GhostText) -> None:
        text, cursor, replaced = self._editor.text, self._editor.cursor, len(ghost.replaced)
        language = self._passage.file.language
        kept = next(part for part in _AS_MUCH if self._part(ghost, part) is not None)
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
                repeated=repeats_suffix(text, cursor, ghost.text, replaced)
                and not self._left.startswith(ghost.text),
            )
        )

    def _consider(self, ghost: GhostText | None) -> AcceptedPart:
        """Return how much of a suggestion to take."""
        if ghost is None or not ghost.text:
            return AcceptedPart.NONE
        return next((p for p in self._taken if self._part(ghost, p)), AcceptedPart.NONE)

    def _part(self, ghost: GhostText, part: AcceptedPart) -> str | None:
        """Return so much of a suggestion if it is what the file goes on with."""
        if part is AcceptedPart.NONE:
            return ""
        text, left = ghost.text, self._left
        if part is AcceptedPart.WHOLE:
            fits = left.startswith(text) and len(ghost.replaced) <= len(self._closed)
            return text if fits and not self._doubles(text, len(ghost.replaced)) else None
        found = first_lines(text, left) if part is AcceptedPart.LINE else first_words(text, left)
        return found if found and not self._doubles(found, 0) else None

    def _doubles(self, text: str, replaced: int) -> bool:
        return doubles_bracket(self._editor.text, self._editor.cursor, text, replaced)

    async def _accept(self, ghost: GhostText, part: AcceptedPart) -> GhostText | None:
        text = self._part(ghost, part)
        assert text
        removed = len(ghost.replaced) if part is AcceptedPart.WHOLE else 0
        self._left = self._left[len(text) :]
        self._closed = self._closed[removed:]
        self.counts.accepted_characters += len("".join(map(str.strip, text.split("\n"))))
        _count(self.counts.accepted, part)
        if part is AcceptedPart.WORD:
            # Each word is a key of its own; the last one's is counted with the press.
            self.counts.keys += len(words(text)) - 1
        self._on_screen = ghost.text
        return await self._press(text, removed=removed)


def _in_string_or_comment(before: str, line: str) -> bool:
    if before.count('"""') % 2 or before.count("'''") % 2:
        return True
    plain = _STRING.sub("", line)
    return any(mark in plain for mark in ("#", "//", '"', "'"))


def _count(counts: dict[str, int], name: str) -> None:
    counts[str(name)] = Counter(counts)[str(name)] + 1
