"""Input and output of code completion. All offsets count code points."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

MAX_LINE_CHARACTERS = 5_000
"""Maximum characters of the cursor's line, on each side, that decide about a suggestion.

Lines of generated code may be as long as a file. The prompt is not limited by this.
"""
MAX_NEAR_CHARACTERS = 12_000
"""Maximum characters above the cursor's line, and after the cursor, for the same purpose."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a notebook."""

    kind: Literal["code", "text"]
    text: str


@dataclass(frozen=True, slots=True)
class Excerpt:
    """An excerpt of another file of the project."""

    path: str
    """Path of the file within the project, with `/`."""
    text: str


@dataclass(frozen=True, slots=True)
class Edit:
    """A recent change of a file of the project, with a few unchanged lines around it."""

    path: str
    """Path of the file within the project, with `/`."""
    above: tuple[str, ...]
    """The unchanged lines above it, without their line feeds."""
    removed: tuple[str, ...]
    added: tuple[str, ...]
    below: tuple[str, ...]

    @property
    def text(self) -> str:
        """All lines of the edit."""
        return "\n".join((*self.above, *self.removed, *self.added, *self.below))


@dataclass(frozen=True, slots=True)
class Problem:
    """A diagnostic of another language server or tool for the document."""

    line: int
    """Number of its first line, from 0."""
    message: str


@dataclass(frozen=True, slots=True)
class Passage:
    """A place in the project whose text before it ends like the text before the cursor."""

    before: str
    """The text before the place, from the start of a line."""
    after: str
    """The text after the place, possibly over several lines."""
    match_length: int
    """Number of characters before the place that equal those before the cursor."""
    count: int = 1
    """Number of such places with the same match and the same text after them."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Text and cursor of a document at one moment."""

    uri: str
    language_id: str
    text: str
    """The text of the document with the editor's own line endings."""
    cursor: int
    """Offset of the cursor in `text`, from 0 to its length."""
    version: int | None = None
    cells: tuple[Cell, ...] = ()
    """The cells before this one in a notebook, in order; empty for other documents."""
    project: str = ""
    """Name of the project that contains the document, or empty."""
    path: str = ""
    """Path of the document within the project, with `/`."""
    excerpts: tuple[Excerpt, ...] = ()
    """Excerpts of other files of the project, the most useful first."""
    edits: tuple[Edit, ...] = ()
    """Recent edits of files of the project, the most useful first."""
    problems: tuple[Problem, ...] = ()
    """Diagnostics of the document, in any order."""
    passages: tuple[Passage, ...] = ()
    """Places in the project where the output may occur already, the longest match first."""

    @property
    def before(self) -> str:
        """The text left of the cursor."""
        return self.text[: self.cursor]

    @property
    def after(self) -> str:
        """The text right of the cursor."""
        return self.text[self.cursor :]

    @property
    def line_before(self) -> str:
        """The cursor's line, up to the cursor; of a long line, the part near the cursor."""
        first = max(0, self.cursor - MAX_LINE_CHARACTERS)
        start = max(self.text.rfind(end, first, self.cursor) + 1 for end in "\n\r")
        return self.text[max(first, start) : self.cursor]

    @property
    def line_after(self) -> str:
        """The cursor's line from the cursor on, without its line ending; a part of a long line."""
        last = min(len(self.text), self.cursor + MAX_LINE_CHARACTERS)
        ends = (self.text.find(end, self.cursor, last) for end in "\n\r")
        return self.text[self.cursor : min((end for end in ends if end >= 0), default=last)]

    @property
    def lines_before(self) -> str:
        """The text above the cursor's line that is near enough to matter for a suggestion."""
        end = self.cursor - len(self.line_before)
        return self.text[max(0, end - MAX_NEAR_CHARACTERS) : end]

    @property
    def near_after(self) -> str:
        """The text right of the cursor that is near enough to matter for a suggestion."""
        return self.text[self.cursor : self.cursor + MAX_NEAR_CHARACTERS]

    @property
    def line_ending(self) -> str:
        """The line ending of the document's first line."""
        end = self.text.find("\n")
        if end > 0 and self.text[end - 1] == "\r":
            return "\r\n"
        return "\r" if end < 0 and "\r" in self.text else "\n"


class Trigger(StrEnum):
    """Cause of a completion request."""

    AUTOMATIC = "automatic"
    """The editor sent the request by itself, for example after a key press."""
    INVOKED = "invoked"
    """The user asked for suggestions explicitly."""


class Source(StrEnum):
    """Origin of a result."""

    MODEL = "model"
    CACHE = "cache"
    """The same place was completed before."""
    TYPED_THROUGH = "typed through"
    """The user typed a part of a cached suggestion; the result is the rest of it."""
    JOINED = "joined"
    """The result is from a request that was in flight already."""
    NONE = "none"
    """Neither the model nor the cache was used."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """An edit that replaces `text[replace_start:replace_end]` of a snapshot by `text`."""

    id: str
    text: str
    replace_start: int
    replace_end: int
    source: Source
    confidence: float = 1.0
    """Probability of the first line according to the model, 0 to 1."""

    def applied_to(self, text: str) -> str:
        """Return the text of the document after the suggestion is accepted."""
        return text[: self.replace_start] + self.text + text[self.replace_end :]


@dataclass(frozen=True, slots=True)
class SelectedText:
    """The selected item of the editor's suggest widget. Suggestions must begin with it."""

    start: int
    """The widget replaces the text from `start` to `end`; the cursor is within or at the end."""
    end: int
    text: str

    def applied_to(self, snapshot: Snapshot) -> Snapshot:
        """Return the snapshot after the item is inserted."""
        text = snapshot.text[: self.start] + self.text + snapshot.text[self.end :]
        cursor = self.start + len(self.text)
        # The passages are for the old cursor.
        return replace(snapshot, text=text, cursor=cursor, passages=())

    def prepended_to(self, suggestion: Suggestion) -> Suggestion:
        """Return a suggestion that inserts the item and then `suggestion`."""
        shift = self.end - self.start - len(self.text)
        return replace(
            suggestion,
            text=self.text + suggestion.text,
            replace_start=self.start,
            replace_end=suggestion.replace_end + shift,
        )


@dataclass(frozen=True, slots=True)
class CompletionResult:
    """Result of one completion request."""

    suggestions: tuple[Suggestion, ...]
    source: Source
    explanation: str
    """Message for the user: the source of the suggestions, or the reason why there are none."""
    model_ms: float = 0.0
    """Milliseconds that the request waited for the engine; 0 if it did not."""
    tokens_per_second: float = 0.0
    """Decoding speed of the engine; 0 if the engine was not used or the speed is unknown."""
