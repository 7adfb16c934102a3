"""Confidence of the model in a text, from the probabilities of its tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fim.postprocess.bracket_scanner import OPENERS, unclosed_quote
from fim.settings import Eagerness


@dataclass(frozen=True, slots=True)
class Policy:
    """Confidence that is required to show a suggestion automatically."""

    min_line: float
    """Minimum probability of a line, 0 to 1."""
    min_part: float
    """Minimum probability of the beginning of a line that is less probable than `min_line`."""
    min_characters: int
    """Minimum number of characters of such a beginning."""


POLICIES: dict[Eagerness, Policy] = {
    "eager": Policy(0.02, 0.05, 1),
    "balanced": Policy(0.1, 0.2, 3),
    "reserved": Policy(0.3, 0.5, 3),
}
"""The policy for each eagerness, chosen by measurement (docs/confidence.md)."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Log-probabilities of the tokens of a text."""

    ends: tuple[int, ...] = ()
    """Offsets in the text at which the tokens end, in ascending order."""
    logprobs: tuple[float, ...] = ()
    """Natural logarithms of the probabilities of the tokens."""

    def confidence(self, start: int, stop: int) -> float:
        """Return the probability of the text from `start` to `stop`, 0 to 1.

        It is the product over the tokens that overlap this range, and 1 without scores, as from an
        engine that reports no probabilities. A token without a character of its own is the first
        part of the following character.
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

    def shifted(self, size: int) -> Scores:
        """Return the scores of a text with `size` more characters before it."""
        return Scores(tuple(end + size for end in self.ends), self.logprobs) if size else self

    def with_first_token(self, logprob: float) -> Scores:
        """Return the scores of a text whose first token has the given log-probability."""
        return Scores((0, *self.ends), (logprob, *self.logprobs)) if self.ends else self

    def without_carriage_returns(self, text: str) -> Scores:
        """Return the scores of `text` after its carriage returns are removed."""
        ends = tuple(end - text.count("\r", 0, end) for end in self.ends)
        return Scores(ends, self.logprobs)

    def with_line_endings(self, text: str, line_ending: str) -> Scores:
        """Return the scores of `text` after its line feeds are replaced by `line_ending`."""
        growth = len(line_ending) - 1
        ends = tuple(end + growth * text.count("\n", 0, end) for end in self.ends)
        return Scores(ends, self.logprobs)


UNSCORED = Scores()
"""Scores of a text whose probabilities are unknown."""


def confident_part(
    text: str, scores: Scores, policy: Policy, *, allow_partial_line: bool = True
) -> str:
    """Return the beginning of a text that is probable enough to be shown, or an empty string.

    It consists of complete lines. If the first line is not probable enough, it consists of complete
    words of that line, unless `allow_partial_line` is False.
    """
    end = first_line_end(text)
    if scores.confidence(0, end) < policy.min_line:
        return _confident_words(text[:end], scores, policy) if allow_partial_line else ""
    while end < len(text):
        next_end = end + first_line_end(text[end:])
        if scores.confidence(end, next_end) < policy.min_line:
            break
        end = next_end
    return text[:end].rstrip()


def _confident_words(line: str, scores: Scores, policy: Policy) -> str:
    ends = [end for end in scores.ends if end <= len(line)]
    end = max((end for end in ends if scores.confidence(0, end) >= policy.min_part), default=0)
    # An opening bracket or quote without its counterpart is worse than none.
    while end and (line[end - 1] in OPENERS or line[end - 1].isspace() or _in_word(line, end)):
        end -= 1
    if (quote := unclosed_quote(line[:end])) is not None:
        end = len(line[:quote].rstrip(OPENERS + " \t"))
    return line[:end] if len(line[:end].strip()) >= policy.min_characters else ""


def _in_word(line: str, offset: int) -> bool:
    """Return whether an offset is within a word; the end of the line never is."""
    neighbours = line[offset - 1 : offset + 1]
    return offset < len(line) and all(
        character.isalnum() or character == "_" for character in neighbours
    )


def first_line_end(text: str) -> int:
    """Return the offset at which the first non-empty line ends.

    The confidence in a suggestion is the probability of the text up to this offset.
    """
    start = len(text) - len(text.lstrip())
    end = text.find("\n", start)
    return len(text) if end < 0 else end


class Scorer:
    """Collects the scores of a text as it arrives in chunks."""

    def __init__(self) -> None:
        self._length = 0
        self._ends: list[int] = []
        self._logprobs: list[float] = []

    def add(self, text: str, logprobs: Sequence[float], ends: Sequence[int] = ()) -> None:
        """Add a chunk. `ends` are the offsets in `text` at which its tokens end.

        If they are unknown, all tokens end at the end of the chunk.
        """
        offsets = ends if len(ends) == len(logprobs) else [len(text)] * len(logprobs)
        self._ends += [self._length + end for end in offsets]
        self._logprobs += logprobs
        self._length += len(text)

    def scores(self) -> Scores:
        """Return the scores of all chunks so far."""
        return Scores(tuple(self._ends), tuple(self._logprobs))
