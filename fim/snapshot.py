"""What goes into fill-in-the-middle, and what comes out. Offsets are in code points throughout."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a notebook."""

    kind: Literal["code", "text"]
    text: str


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A part of another file of the project."""

    path: str
    """Within the project, with `/`."""
    text: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A document at one moment, with the cursor in it."""

    uri: str
    language_id: str
    text: str
    """As the editor has it: line ends are not changed."""
    cursor: int
    """Offset into `text`, 0 to its length."""
    version: int | None = None
    cells: tuple[Cell, ...] = ()
    """In a notebook, the cells before this one, in order."""
    project: str = ""
    """Name of the project that the document is part of, empty where it is part of none."""
    path: str = ""
    """Of the document within the project, with `/`."""
    excerpts: tuple[Excerpt, ...] = ()
    """Parts of other files, the most useful first."""

    @property
    def before(self) -> str:
        """Text left of the cursor."""
        return self.text[: self.cursor]

    @property
    def after(self) -> str:
        """Text right of the cursor."""
        return self.text[self.cursor :]

    @property
    def line_before(self) -> str:
        """The cursor's line, up to the cursor."""
        start = max(self.text.rfind("\n", 0, self.cursor), self.text.rfind("\r", 0, self.cursor))
        return self.text[start + 1 : self.cursor]

    @property
    def line_after(self) -> str:
        """The cursor's line from the cursor on, without its end."""
        ends = (self.text.find("\n", self.cursor), self.text.find("\r", self.cursor))
        found = [end for end in ends if end >= 0]
        return self.text[self.cursor : min(found, default=len(self.text))]

    @property
    def line_ending(self) -> str:
        """The line end that the document uses: that of its first line."""
        at = self.text.find("\n")
        if at > 0 and self.text[at - 1] == "\r":
            return "\r\n"
        return "\r" if at < 0 and "\r" in self.text else "\n"


@dataclass(frozen=True, slots=True)
class SelectedText:
    """What the editor's own suggest widget would insert: the suggestion must go on from it."""

    start: int
    end: int
    """The widget replaces this range of the snapshot's text; the cursor is within or at its end."""
    text: str


class Trigger(StrEnum):
    """Why a completion is asked for."""

    AUTOMATIC = "automatic"
    INVOKED = "invoked"


class Source(StrEnum):
    """Where an answer came from."""

    MODEL = "model"
    CACHE = "cache"
    TYPED_THROUGH = "typed through"
    JOINED = "joined"
    """It was being written already when it was asked for."""
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Replace `text[replace_start:replace_end]` of the snapshot by `text`."""

    id: str
    text: str
    replace_start: int
    replace_end: int
    source: Source
    confidence: float = 1.0
    """How sure the model was of its first line, 0 to 1."""

    def applied_to(self, text: str) -> str:
        """Return the document with the suggestion accepted."""
        return text[: self.replace_start] + self.text + text[self.replace_end :]


@dataclass(frozen=True, slots=True)
class CompletionResult:
    """The answer to one request, and how it came about."""

    suggestions: tuple[Suggestion, ...]
    source: Source
    explanation: str
    """Where it came from, or why there is nothing, in words for the user."""
    model_ms: float = 0.0
    """Time the engine worked on it."""
    tokens_per_second: float = 0.0
    """How fast the engine wrote it; 0 where it was not asked, or too little came to tell."""
