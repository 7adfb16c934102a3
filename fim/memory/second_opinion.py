"""Chooses between the model's candidates and those from the project's text."""

from __future__ import annotations

from collections.abc import Sequence

from fim.memory.candidates import MemoryCandidate, memory_candidates
from fim.memory.probability import Support
from fim.postprocess.candidate import Candidate
from fim.postprocess.truncate import Scope
from fim.snapshot import Snapshot

_MIN_CERTAIN_MATCH = 64
"""Minimum match length to override a model whose probabilities are unknown."""
_MIN_CERTAIN = 0.7
"""Minimum probability for the same purpose. 96 % of these texts were right, at 171 places in seven
packages, and 49 % of the demo model's (`python -m benchmarks.memory_candidates`).
"""
_EMPTY_PROBABILITY = 0.5
"""Assumed probability that nothing is right if the model suggests nothing."""


def more_probable(candidate: Candidate, snapshot: Snapshot, scope: Scope) -> Candidate:
    """Return the model's candidate, or one from the project's text that is more probable.

    If the model's probability is unknown, only a very long match without rivals overrides it.
    """
    required = _required(candidate)
    for result in memory_candidates(snapshot, scope, 1, required):
        if _is_enough(result, candidate, required):
            return result.candidate
    return candidate


def merged(model: Sequence[Candidate], memory: Sequence[Candidate]) -> list[Candidate]:
    """Return all candidates, but of several with the same text only the most probable one."""
    by_text: dict[str, Candidate] = {}
    for candidate in (*model, *memory):
        other = by_text.get(candidate.text)
        if other is None or candidate.confidence > other.confidence:
            by_text[candidate.text] = candidate
    return list(by_text.values())


def _required(candidate: Candidate) -> float:
    """Return the probability above which a text of the project is better than the candidate."""
    if not candidate.text:
        return _EMPTY_PROBABILITY
    return candidate.confidence if candidate.is_scored else _MIN_CERTAIN


def _is_enough(result: MemoryCandidate, candidate: Candidate, required: float) -> bool:
    is_certain = not candidate.text or candidate.is_scored or _is_unambiguous(result.support)
    return result.candidate.confidence > required and is_certain


def _is_unambiguous(support: Support) -> bool:
    return support.match_length >= _MIN_CERTAIN_MATCH and not support.rivals
