"""What is counted while a passage is typed."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from fim.evaluation.files import File
from fim.snapshot import Source


@dataclass(frozen=True, slots=True)
class GhostText:
    """What the editor would show in grey."""

    text: str
    """Inserted at the cursor; empty where nothing is suggested."""
    explanation: str
    """Where it came from, or why there is none: the server's word."""
    milliseconds: float
    """From the key to the answer."""
    replaced: str = ""
    """Text right of the cursor that the suggestion takes the place of."""
    source: str = ""
    """Where the answer came from, if only that there is nothing: a `Source`."""


class AcceptedPart(StrEnum):
    """How much of a suggestion is taken."""

    WHOLE = "whole"
    LINE = "line"
    WORD = "word"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class ShownSuggestion:
    """A suggestion when it came."""

    text: str
    replaced: str
    line: str
    """The line left of the cursor."""
    source: str
    milliseconds: float
    kept: AcceptedPart
    """How much of it is what the file goes on with: all, first lines, first words."""
    parsed: bool
    """Whether the file parsed before it."""
    broke: bool
    """Whether that file does not with it."""
    doubled: bool
    """Whether it would double a bracket."""
    repeated: bool
    """Whether it repeats what stands behind it."""


@dataclass
class TypingCounts:
    """What happened while one passage was typed."""

    name: str
    language: str
    plain_keys: int
    """What the same passage takes without suggestions."""
    keys: int = 0
    """Pressed, those that accept among them."""
    accepted: dict[str, int] = field(default_factory=dict)
    """Acceptances by part."""
    accepted_characters: int = 0
    calls: int = 0
    """Of the model."""
    answers: dict[str, int] = field(default_factory=dict)
    """Keys after the first suggestion, by where their answer came from; `late` for none in time."""
    helped: dict[str, int] = field(default_factory=dict)
    """Those of them that got a suggestion."""
    shown: list[ShownSuggestion] = field(default_factory=list)
    """Suggestions that came before the next key and were not on the screen already."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A file and the part of it that is typed: whole lines, but for the end of the last one."""

    file: File
    start: int
    end: int

    @property
    def name(self) -> str:
        """Path and place: equal for equal passages."""
        return f"{self.file.path}:{self.start}-{self.end}"

    @property
    def initial_text(self) -> str:
        """The file before the passage is typed."""
        return self.file.text[: self.start] + self.file.text[self.end :]


LATE = "late"
WITHOUT_MODEL = (Source.CACHE, Source.TYPED_THROUGH, Source.JOINED, Source.NONE)
"""Answers for which the model was not asked anew."""
