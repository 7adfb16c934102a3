"""Candidates from passages: text that followed the same text elsewhere in the project.

Each candidate has an estimated probability that its first line is right, so that it can be compared
with the model's.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fim.memory.probability import Support, probability
from fim.postprocess.candidate import Candidate, make_candidate
from fim.postprocess.confidence import Scores, first_line_end
from fim.postprocess.indentation import indent_of, indent_unit, reindented
from fim.postprocess.truncate import Extent, Scope, Truncator
from fim.secrets import has_secret
from fim.snapshot import Passage, Snapshot

MIN_MATCH = 3
"""Minimum number of characters of a match; shorter ones say nothing."""

_MAX_LINES = 12
"""Maximum number of lines of a passage in which the text below the cursor is searched."""
_MIN_BELOW = 3
"""Minimum characters of the line below the cursor that counts as the same."""
_MAX_CHARACTERS = 4_000
"""Maximum characters of a continuation."""
_MAX_TRIES = 6
"""Maximum number of continuations that are made into candidates, because each one is parsed."""

_WORD = re.compile(r"\w+\s*|\W\s*")
_KEY_BEGINS, _KEY_ENDS = "-----BEGIN", "-----END"
"""Beginnings of the first and the last line of a key in PEM format (RFC 7468)."""


@dataclass(frozen=True, slots=True)
class MovedPassage:
    """A passage, and the text after it with line feeds and the indentation of the cursor."""

    passage: Passage
    text: str


@dataclass(frozen=True, slots=True)
class Continuation:
    """A text that followed the text before the cursor elsewhere."""

    head: str
    """The text up to the end of its first line; empty if the line ends at the cursor."""
    places: tuple[MovedPassage, ...]
    """The passages that begin with `head`, the longest match first."""
    support: Support

    @property
    def probability(self) -> float:
        """Estimated probability that `head` is right, 0 to 1."""
        return probability(self.support)


@dataclass(frozen=True, slots=True)
class MemoryCandidate:
    """A candidate from the project's text, and the evidence for its first line."""

    candidate: Candidate
    support: Support


def continuations(snapshot: Snapshot, scope: Scope) -> list[Continuation]:
    """Return the continuations of the snapshot's passages, the most probable first.

    One with an empty head says that the line ends at the cursor.
    """
    unit, below = indent_unit(snapshot.text), _line_below(snapshot)
    by_head: dict[str, list[MovedPassage]] = {}
    for passage in snapshot.passages:
        if passage.match_length >= MIN_MATCH:
            text = _moved(passage, snapshot, unit)
            by_head.setdefault(_head(text, scope), []).append(MovedPassage(passage, text))
    line_length = len(snapshot.line_before.lstrip())
    results = []
    for head, places in by_head.items():
        others = [place for other, group in by_head.items() if other != head for place in group]
        longest = max(place.passage.match_length for place in places)
        support = Support(
            match_length=longest,
            agreeing=_count(places),
            rivals=_count(others, longest),
            disagreeing=_count(others),
            length=len(head),
            has_whole_line=longest >= line_length,
            joins=any(_joins(place.text[len(head) :], below, scope) for place in places),
        )
        places.sort(key=lambda place: -place.passage.match_length)
        results.append(Continuation(head, tuple(places), support))
    return sorted(results, key=lambda result: -result.probability)


def memory_candidates(
    snapshot: Snapshot, scope: Scope, max_count: int, min_probability: float = 0.0
) -> list[MemoryCandidate]:
    """Return candidates with different texts from the passages, the most probable first.

    They are truncated and cleaned like the model's output.
    """
    if not snapshot.passages or max_count < 1 or _is_in_key(snapshot.lines_before):
        return []
    results: list[MemoryCandidate] = []
    for continuation in continuations(snapshot, scope)[:_MAX_TRIES]:
        if continuation.probability < min_probability or len(results) == max_count:
            break
        candidate = _candidate(continuation, snapshot, scope) if continuation.head.strip() else None
        texts = [result.candidate.text for result in results]
        if candidate is not None and candidate.text not in ("", *texts):
            results.append(MemoryCandidate(candidate, continuation.support))
    return results


def _candidate(continuation: Continuation, snapshot: Snapshot, scope: Scope) -> Candidate | None:
    """Return the candidate of a continuation, None if its text must not be shown."""
    place = continuation.places[0]
    if has_secret(place.passage.before + place.passage.after) or _is_in_key(place.passage.before):
        return None
    truncator = Truncator(snapshot, scope)
    truncated = truncator.truncate(place.text, ended=False)
    is_complete = truncated.done
    if not is_complete:  # the passage ends somewhere, like output at the maximum number of tokens
        truncated = truncator.truncate(place.text, ended=True, limited=True)
    if not truncated.text.strip():
        return None
    scores = _scores(truncated.text, continuation)
    return make_candidate(truncated.text, scores, snapshot, is_complete=is_complete)


def _scores(text: str, continuation: Continuation) -> Scores:
    """Return the scores of a text: each line has a probability, and its words share it equally."""
    ends: list[int] = []
    logprobs: list[float] = []
    for start, end, line_probability in _line_probabilities(text, continuation):
        words = list(_WORD.finditer(text, start, end))
        ends += [word.end() for word in words]
        logprobs += [math.log(line_probability) / len(words)] * len(words)
    return Scores(tuple(ends), tuple(logprobs))


def _line_probabilities(text: str, continuation: Continuation) -> Iterator[tuple[int, int, float]]:
    """Yield start, end and probability of each line, given the lines before it.

    The lines before a line make the match longer, and leave the places that contain them.
    """
    start, end = 0, first_line_end(text)
    support, places = continuation.support, list(continuation.places)
    yield start, end, probability(support)
    while end < len(text):
        start, end = end, end + first_line_end(text[end:])
        same = [place for place in places if place.text.startswith(text[:end])]
        others = [
            place
            for place in places
            if not place.text.startswith(text[:end]) and len(place.text) > end
        ]
        longest = max((place.passage.match_length for place in same), default=0)
        support = Support(
            match_length=longest + start,
            agreeing=_count(same),
            rivals=_count(others, longest),
            disagreeing=_count(others),
            length=end - start,
            has_whole_line=True,
            joins=support.joins,
        )
        places = same
        yield start, end, probability(support)


def _moved(passage: Passage, snapshot: Snapshot, unit: str) -> str:
    text = passage.after[:_MAX_CHARACTERS].replace("\r\n", "\n").replace("\r", "\n")
    before = passage.before
    line = before[max(before.rfind("\n"), before.rfind("\r")) + 1 :]
    return reindented(text, indent_of(line), indent_of(snapshot.line_before), unit)


def _head(text: str, scope: Scope) -> str:
    end = first_line_end(text) if scope.extent is Extent.BLOCK else (text + "\n").find("\n")
    return text[:end].rstrip()


def _count(places: Sequence[MovedPassage], min_match: int = 0) -> int:
    """Return the number of places with a match of at least `min_match` characters."""
    return sum(place.passage.count for place in places if place.passage.match_length >= min_match)


def _line_below(snapshot: Snapshot) -> str:
    below = snapshot.near_after[len(snapshot.line_after) :]
    return next((line.strip() for line in below.splitlines() if line.strip()), "")


def _joins(rest: str, below: str, scope: Scope) -> bool:
    """Return whether the text after a continuation reaches the line below the cursor."""
    if len(below) < _MIN_BELOW:
        return False
    lines = [line.strip() for line in rest.split("\n", _MAX_LINES)[1:] if line.strip()]
    return below in (lines if scope.extent is Extent.BLOCK else lines[:1])


def _is_in_key(text: str) -> bool:
    """Return whether a text ends within a key, whose lines alone look like any other text."""
    return text.rfind(_KEY_BEGINS) > text.rfind(_KEY_ENDS)
