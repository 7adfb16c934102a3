"""Turns the model's output into suggestions: cleans it, cuts off uncertain parts, and ranks."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fim.postprocess.clean import clean, repair
from fim.postprocess.confidence import (
    UNSCORED,
    Policy,
    Scores,
    confident_part,
    first_line_end,
)
from fim.snapshot import CompletionResult, Snapshot, Source, Suggestion

_NOTHING_TO_ADD = "the model has nothing to add here"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A cleaned text that may be suggested at the cursor."""

    text: str
    """Text to insert; empty if there is nothing to suggest."""
    replaced: int = 0
    """Number of characters right of the cursor that the text replaces."""
    scores: Scores = UNSCORED
    source: Source = Source.MODEL
    is_complete: bool = False
    """Whether the model ended the text here, rather than at the maximum number of tokens."""

    @property
    def is_scored(self) -> bool:
        """Whether the probability of the text is known."""
        return self.scores != UNSCORED

    @property
    def confidence(self) -> float:
        """Probability of the first line according to its source, 0 to 1."""
        return self.scores.confidence(0, first_line_end(self.text))

    def after_typing(self, typed: str) -> Candidate | None:
        """Return the rest of the candidate after the user typed `typed`, or None.

        The result is None if the candidate does not begin with `typed`. If nothing is left of it,
        the rest is unknown, unless the candidate is complete.
        """
        if not typed:
            return self
        if not self.text.startswith(typed):
            return None
        if len(self.text) == len(typed) and (not self.is_complete or self.replaced):
            return None
        scores = self.scores.from_offset(len(typed))
        return replace(self, text=self.text[len(typed) :], scores=scores)


def make_candidate(
    output: str, scores: Scores, snapshot: Snapshot, *, is_complete: bool = False
) -> Candidate:
    """Clean the truncated output of the model."""
    if "\r" in output:  # some models write the line endings of Windows whatever the prompt has
        scores, output = scores.without_carriage_returns(output), output.replace("\r", "")
    cleaned = clean(output, snapshot)
    if cleaned is None:
        return Candidate("", scores=scores, is_complete=is_complete)
    scores = scores.from_offset(cleaned.skipped) if cleaned.skipped else scores
    if snapshot.line_ending != "\n":
        scores = scores.with_line_endings(output[cleaned.skipped :], snapshot.line_ending)
    return Candidate(cleaned.text, cleaned.replaced, scores, is_complete=is_complete)


def show_if_confident(
    snapshot: Snapshot, candidate: Candidate, policy: Policy, *, allow_partial_line: bool
) -> CompletionResult:
    """Return the part of a candidate that is probable enough to be shown automatically."""
    if not candidate.text:
        return CompletionResult((), candidate.source, _NOTHING_TO_ADD)
    text = confident_part(
        candidate.text, candidate.scores, policy, allow_partial_line=allow_partial_line
    )
    shown = replace(candidate, text=text)
    if text != candidate.text:
        # The candidate was repaired when it was cleaned: the cache, joining requests and the
        # confidence itself need the repaired text. A shorter text may break the syntax again, or
        # end before a bracket that the whole candidate replaced, so it is repaired once more.
        text, replaced = repair(text, snapshot)
        shown = replace(candidate, text=text, replaced=replaced)
    if len(text.strip()) < min(policy.min_characters, len(candidate.text.strip())):
        explanation = (
            f"the model is not sure enough ({candidate.confidence:.0%}, "
            f"{policy.min_line:.0%} required)"
        )
        return CompletionResult((), candidate.source, explanation)
    return CompletionResult(
        (_suggestion(snapshot, shown),), candidate.source, str(candidate.source)
    )


def rank(snapshot: Snapshot, candidates: Sequence[Candidate]) -> CompletionResult:
    """Return all candidates with a text, the most probable first."""
    source = candidates[0].source
    ranked = sorted(
        (candidate for candidate in candidates if candidate.text),
        key=lambda candidate: -candidate.confidence,
    )
    if not ranked:
        return CompletionResult((), source, _NOTHING_TO_ADD)
    suggestions = tuple(_suggestion(snapshot, candidate) for candidate in ranked)
    return CompletionResult(suggestions, source, str(source))


def _suggestion(snapshot: Snapshot, candidate: Candidate) -> Suggestion:
    return Suggestion(
        id=uuid.uuid4().hex,
        text=candidate.text,
        replace_start=snapshot.cursor,
        replace_end=snapshot.cursor + candidate.replaced,
        source=candidate.source,
        confidence=candidate.confidence,
    )
