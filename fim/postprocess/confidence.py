"""How sure the model was of what it wrote, from the probabilities of its tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fim.settings import Eagerness


@dataclass(frozen=True, slots=True)
class Policy:
    """How sure the model must be of what is shown unasked."""

    whole: float
    """Probability of a line from which it is shown, 0 to 1."""
    part: float
    """Of a line less likely than that, the longest beginning that is at least this likely."""
    shortest: int
    """Characters that such a beginning must have."""


POLICIES: dict[Eagerness, Policy] = {
    "eager": Policy(0.02, 0.05, 1),
    "balanced": Policy(0.1, 0.2, 3),
    "reserved": Policy(0.3, 0.5, 3),
}
"""Chosen by measurement: docs/confidence.md."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Log-probabilities of the tokens of a text, by where each token ends in it."""

    ends: tuple[int, ...] = ()
    """Offsets, in characters, in ascending order."""
    logprobs: tuple[float, ...] = ()
    """Natural logarithms."""

    def confidence(self, start: int, stop: int) -> float:
        """Return the probability of the text from `start` to `stop`, 0 to 1, as the model sees it.

        That is the product over the tokens that have a part in it; 1 where nothing is known, as of
        an engine that tells no probabilities. A token without a character of its own is the first
        part of the character that follows.
        """
        total, begin = 0.0, 0
        for end, logprob in zip(self.ends, self.logprobs, strict=True):
            if begin < stop and (end > start or start <= begin == end):
                total += logprob
            begin = end
        return math.exp(total)

    def from_offset(self, offset: int) -> Scores:
        """Return the scores of the text from `offset` on."""
        begins = (0, *self.ends)
        kept = [
            (end - offset, logprob)
            for begin, end, logprob in zip(begins, self.ends, self.logprobs, strict=False)
            if end > offset or begin == end == offset > 0
        ]
        return Scores(tuple(end for end, _ in kept), tuple(logprob for _, logprob in kept))

    def behind(self, size: int) -> Scores:
        """Return the scores of a text that has so many more characters before it."""
        return Scores(tuple(end + size for end in self.ends), self.logprobs) if size else self

    def begun_by(self, logprob: float) -> Scores:
        """Return the scores of a text whose beginning was as likely as that."""
        return Scores((0, *self.ends), (logprob, *self.logprobs)) if self.ends else self

    def with_line_ends(self, text: str, line_end: str) -> Scores:
        """Return the scores of `text` once its line feeds are written as `line_end`."""
        on_text = len(line_end) - 1
        ends = tuple(end + on_text * text.count("\n", 0, end) for end in self.ends)
        return Scores(ends, self.logprobs)


UNSCORED = Scores()
"""Where nothing is known of probabilities."""


_OPENING = "([{"
_QUOTES = "\"'`"
"""What a beginning does not end with: half a pair is worse than none."""


def sure_part(text: str, scores: Scores, policy: Policy, *, partial: bool = True) -> str:
    """Return what of a text is sure enough to be shown, empty for nothing.

    Lines that are sure enough, given those before them; if not even the first is, then, with
    `partial`, whole words of its beginning.
    """
    end = first_line(text)
    if scores.confidence(0, end) < policy.whole:
        return _sure_words(text[:end], scores, policy) if partial else ""
    while end < len(text):
        following = end + first_line(text[end:])
        if scores.confidence(end, following) < policy.whole:
            break
        end = following
    return text[:end].rstrip()


def _sure_words(line: str, scores: Scores, policy: Policy) -> str:
    sure = [end for end in scores.ends if end <= len(line)]
    sure = [end for end in sure if scores.confidence(0, end) >= policy.part]
    end = max(sure, default=0)
    while end and (line[end - 1] in _OPENING or line[end - 1].isspace() or _in_word(line, end)):
        end -= 1
    if (quote := _open_quote(line[:end])) is not None:
        end = len(line[:quote].rstrip(_OPENING + " \t"))
    return line[:end] if len(line[:end].strip()) >= policy.shortest else ""


def _open_quote(text: str) -> int | None:
    """Return where a string begins that does not end, None where every one does."""
    begun: int | None = None
    for at, character in enumerate(text):
        if begun is None and character in _QUOTES:
            begun = at
        elif begun is not None and character == text[begun] and text[at - 1] != "\\":
            begun = None
    return begun


def _in_word(line: str, at: int) -> bool:
    """Whether a place is within a word; the end of the line is the end of what is known of it."""
    return at < len(line) and all(one.isalnum() or one == "_" for one in line[at - 1 : at + 1])


def first_line(text: str) -> int:
    """Return where the first line with something on it ends: what a suggestion is judged by."""
    begun = len(text) - len(text.lstrip())
    end = text.find("\n", begun)
    return len(text) if end < 0 else end


class Scorer:
    """Collects scores as text arrives."""

    def __init__(self) -> None:
        self._length = 0
        self._ends: list[int] = []
        self._logprobs: list[float] = []

    def add(self, text: str, logprobs: Sequence[float], ends: Sequence[int] = ()) -> None:
        """Take what arrived at once; `ends` say where in it each token ends.

        Where they are not known, all of its tokens end where it does.
        """
        known = ends if len(ends) == len(logprobs) else [len(text)] * len(logprobs)
        self._ends += [self._length + end for end in known]
        self._logprobs += logprobs
        self._length += len(text)

    def scores(self) -> Scores:
        """Return all so far."""
        return Scores(tuple(self._ends), tuple(self._logprobs))
