"""Counts of a simulated typing session."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from fim.evaluation.files import File, Sample
from fim.snapshot import Source


@dataclass(frozen=True, slots=True)
class GhostText:
    """The suggestion that an editor would show as ghost text."""

    text: str
    """Text to insert at the cursor; empty if there is no suggestion."""
    explanation: str
    """The server's message: the source of the suggestion, or why there is none."""
    milliseconds: float
    """Milliseconds from the key press to the result."""
    replaced: str = ""
    """Text right of the cursor that the suggestion replaces."""
    source: str = ""
    """The `Source` of the result, even if there is no suggestion."""


class AcceptedPart(StrEnum):
    """The part of a suggestion that is accepted."""

    WHOLE = "whole"
    LINE = "line"
    WORD = "word"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class ShownSuggestion:
    """A suggestion at the time when it appeared."""

    text: str
    replaced: str
    line: str
    """The cursor's line, up to the cursor."""
    source: str
    milliseconds: float
    kept: AcceptedPart
    """The largest part of the suggestion that is correct."""
    parsed: bool
    """Whether the file parsed without the suggestion."""
    broke: bool
    """Whether the file parsed without the suggestion but does not with it."""
    doubled: bool
    """Whether the suggestion would double a bracket."""
    repeated: bool
    """Whether the suggestion repeats the text after the cursor."""


@dataclass
class TypingCounts:
    """The counts of typing one passage."""

    name: str
    language: str
    plain_keys: int
    """Number of key presses for the passage without suggestions."""
    keys: int = 0
    """Number of key presses, including those that accept a suggestion."""
    accepted: dict[str, int] = field(default_factory=dict)
    """Number of accepted suggestions, by the part that was accepted."""
    accepted_characters: int = 0
    """Number of accepted characters, without white space at line ends and beginnings."""
    calls: int = 0
    """Number of requests to the model."""
    results: dict[str, int] = field(default_factory=dict)
    """Key presses after the first suggestion, by the source of the result.

    The source is `late` if no result arrived before the next key press.
    """
    results_with_suggestion: dict[str, int] = field(default_factory=dict)
    """The part of `results` with a suggestion."""
    shown: list[ShownSuggestion] = field(default_factory=list)
    """Suggestions that appeared before the next key press and were not on the screen already."""
    sample: str = Sample.RANDOM
    """The kind of lines from which the passage was drawn."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A file and the part of it that is typed: whole lines, without the last line feed."""

    file: File
    start: int
    end: int

    @property
    def name(self) -> str:
        """Path and offsets, equal for equal passages."""
        return f"{self.file.path}:{self.start}-{self.end}"

    @property
    def initial_text(self) -> str:
        """The file before the passage is typed."""
        return self.file.text[: self.start] + self.file.text[self.end :]


LATE = "late"
WITHOUT_MODEL = (Source.CACHE, Source.TYPED_THROUGH, Source.JOINED, Source.NONE)
"""Sources of results that needed no new request to the model."""
