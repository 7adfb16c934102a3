"""Draft tokens: tokens that are proposed first and checked many at a time in one step.

A draft token is kept only if the model would have chosen it, so the output does not change
(speculative decoding, Leviathan et al. 2023, arXiv:2211.17192). Draft tokens have four sources:

- the caller's draft, such as the suggestion of the previous keystroke;
- the passages of the request: what followed the same text in the user's project;
- prompt lookup: what followed the same few tokens before, because code repeats itself (Saxena
  2023);
- a draft model, if there is one and it promises more.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence

from engine.decoding.draft_length import DraftLengths
from engine.decoding.draft_model import INITIAL_ACCEPTANCE, ModelDraft
from engine.decoding.memory_text import MemoryText
from engine.network.step_costs import StepCosts

_MAX_MATCH, _MIN_MATCH = 4, 2
"""Numbers of tokens that must have occurred before. Longer matches give better draft tokens."""

_CALLER = 0
_MODEL = 1
_MEMORY = 100
"""Keys of sources of draft tokens. Those of prompt lookup are the sizes of the match, and those of
the passages are `_MEMORY` plus the size class of the match."""

_MIN_MEMORY_MATCH = 3
"""Smallest size class of a match in the passages that gives draft tokens: ten bytes."""

_INITIAL_ACCEPTANCE = {_CALLER: 0.85, 4: 0.75, 3: 0.6, 2: 0.45, _MODEL: INITIAL_ACCEPTANCE}
"""Assumed acceptance rate by source, before the request has shown its own.

Measured with `benchmarks.drafts` on Python code. A caller's draft is the model's own output of a
moment before.
"""
_INITIAL_ACCEPTANCE |= {
    _MEMORY + number: rate
    for number, rate in enumerate((0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9), _MIN_MEMORY_MATCH)
}
_LEARNING_RATE = 0.15
"""Weight of the newest draft token in the moving average of the acceptance rate."""
_FORGETTING_RATE = 0.03
"""Share by which the rate returns to its initial value each time it prevents a draft. The next
place in the text may be different."""

_MAX_DRAFT = 24
"""Maximum number of draft tokens per step."""

_MAX_MISALIGNED = 8
"""Maximum number of matches that are skipped because they start inside an id. More of them in a row
occur only in prompts that were made for it."""

_ID_BYTES = 4
"""Bytes of a token id in an array of type "i"."""


class Drafter:
    """Proposes draft tokens for one request, as many at a time as pay off."""

    def __init__(
        self,
        prompt: Sequence[int],
        caller_draft: Sequence[int] = (),
        lengths: DraftLengths | None = None,
        model_draft: ModelDraft | None = None,
        memory: MemoryText | None = None,
    ) -> None:
        """Create a drafter; `caller_draft` is text that the output may contain from its start.

        `memory` has the passages of the request. The caller records the output in it.
        """
        self._memory = memory
        # Stored as bytes, so that the search for an earlier occurrence is a single call.
        self._ids = bytearray(array("i", prompt).tobytes())
        self._output_start = len(self._ids)
        self._caller_draft = CallerDraft(caller_draft) if caller_draft else None
        self._lengths = lengths or DraftLengths(StepCosts())
        self._model_draft = model_draft
        self._acceptance = dict(_INITIAL_ACCEPTANCE)
        if model_draft is not None:
            self._acceptance[_MODEL] = model_draft.acceptance_rate
        self._source = _CALLER
        self._stopped_at: int | None = None
        """Number of draft tokens after which the draft model stopped early, if it did."""
        self.num_drafted = 0
        """Number of draft tokens proposed so far."""
        self.num_accepted = 0
        """Number of draft tokens that the model has chosen so far."""

    def add(self, id_: int) -> None:
        """Record a token of the output."""
        self._ids += array("i", (id_,)).tobytes()
        if self._caller_draft is not None:
            self._caller_draft.follow(id_, self._last_output_ids())

    def propose(
        self,
        max_tokens: int,
        other_rows: int = 0,
        ends_output: Callable[[int], bool] | None = None,
    ) -> tuple[int, ...]:
        """Return up to `max_tokens` draft tokens, from the source that promises the most.

        `other_rows` is the number of rows that the step computes for other sequences. The draft
        ends with the first token for which `ends_output` is true.
        """
        max_tokens = min(max_tokens, _MAX_DRAFT)
        draft = _up_to_end(self._look_up(max_tokens), ends_output)
        length, rate = (
            self._best_length(self._source, len(draft), other_rows) if draft else (0, 0.0)
        )
        if self._model_draft is not None and max_tokens > 0:
            token_ms = self._model_draft.token_ms
            model_length, model_rate = self._best_length(_MODEL, max_tokens, other_rows, token_ms)
            if model_length and model_rate > rate:
                model_draft = self._model_draft.propose(_to_array(self._ids), model_length)
                if model_draft:
                    self._source, draft = _MODEL, _up_to_end(model_draft, ends_output)
                    length = len(draft)
                    is_early = len(model_draft) < model_length
                    self._stopped_at = len(model_draft) if is_early else None
                elif model_draft is not None:
                    self._learn(_MODEL, 0, is_wrong=True)
        self.num_drafted += length
        return draft[:length]

    def record_result(self, num_drafted: int, num_right: int) -> None:
        """Record that of the last `num_drafted` draft tokens the first `num_right` were right."""
        self.num_accepted += num_right
        # Stopping early counts as a miss: it gives no more tokens than a wrong draft token.
        has_stopped = self._source == _MODEL and num_right == self._stopped_at
        self._learn(self._source, num_right, is_wrong=num_right < num_drafted or has_stopped)

    def close(self) -> None:
        """Release what the draft model keeps for the request."""
        if self._model_draft is not None:
            self._model_draft.close()

    def _best_length(
        self, source: int, max_tokens: int, other_rows: int, token_ms: float = 0.0
    ) -> tuple[int, float]:
        """Return the number of draft tokens that pays off, and its tokens per millisecond.

        If none pays off, the acceptance rate of the source moves towards its initial value.
        """
        acceptance = self._acceptance[source]
        length, rate = self._lengths.best(acceptance, max_tokens, other_rows, token_ms)
        if length == 0:
            self._acceptance[source] += _FORGETTING_RATE * (
                _INITIAL_ACCEPTANCE[source] - acceptance
            )
        return length, rate

    def _learn(self, source: int, num_right: int, *, is_wrong: bool) -> None:
        acceptance = self._acceptance[source]
        for _ in range(num_right):
            acceptance += _LEARNING_RATE * (1 - acceptance)
        if is_wrong:
            acceptance -= _LEARNING_RATE * acceptance
        self._acceptance[source] = acceptance
        if self._model_draft is not None and source == _MODEL:
            self._model_draft.share_acceptance_rate(acceptance)

    def _look_up(self, max_tokens: int) -> tuple[int, ...]:
        """Return draft tokens from the caller's draft, the passages, or else by prompt lookup."""
        if max_tokens <= 0:
            return ()
        if self._caller_draft is not None and (draft := self._caller_draft.next_ids(max_tokens)):
            self._source = _CALLER
            return draft
        if self._memory is not None:
            size_class, draft = self._memory.draft(max_tokens, _MIN_MEMORY_MATCH)
            if draft:
                self._source = _MEMORY + size_class
                return draft
        for size in range(_MAX_MATCH, _MIN_MATCH - 1, -1):
            start = self._after_earlier_match(size)
            if start is not None:
                self._source = size
                return _to_ids(self._ids[start : start + max_tokens * _ID_BYTES])
        return ()

    def _after_earlier_match(self, size: int) -> int | None:
        """Return the byte after the last earlier occurrence of the last `size` ids, or None."""
        last_ids = self._ids[-size * _ID_BYTES :]
        if len(last_ids) < size * _ID_BYTES:
            return None
        end = len(self._ids) - 1  # excludes the occurrence at the end itself
        for _ in range(1 + _MAX_MISALIGNED):
            start = self._ids.rfind(last_ids, 0, end)
            if start < 0:
                return None
            if start % _ID_BYTES == 0:
                return start + size * _ID_BYTES
            end = start + len(last_ids) - 1
        return None

    def _last_output_ids(self) -> tuple[int, ...]:
        start = max(self._output_start, len(self._ids) - _MAX_MATCH * _ID_BYTES)
        return _to_ids(self._ids[start:])


class CallerDraft:
    """The position in a caller's draft to which the output corresponds."""

    def __init__(self, ids: Sequence[int]) -> None:
        self._ids = tuple(ids)
        self._bytes = array("i", ids).tobytes()
        self._next: int | None = 0
        """Index of the next token if the output follows the draft; None if it has left it."""
        self._num_passed = 0
        """Number of tokens that the output has already passed."""

    def follow(self, id_: int, last_ids: Sequence[int]) -> None:
        """Record a token of the output, whose last few ids, `id_` included, are `last_ids`.

        An output that has left the draft may return to it. After an insertion it returns to the
        place where it left; after a deletion it returns to a later place.
        """
        index = self._next
        if index is not None and index < len(self._ids) and self._ids[index] == id_:
            self._next = self._num_passed = index + 1
            return
        self._next = self._after_match(last_ids)
        if self._next is not None:
            self._num_passed = self._next

    def next_ids(self, max_tokens: int) -> tuple[int, ...]:
        """Return up to `max_tokens` next tokens of the draft; none if the output has left it."""
        return () if self._next is None else self._ids[self._next : self._next + max_tokens]

    def _after_match(self, last_ids: Sequence[int]) -> int | None:
        """Return the index after the longest match of `last_ids`, the nearest one of several."""
        for size in range(len(last_ids), 0, -1):
            target = array("i", last_ids[-size:]).tobytes()
            start = self._num_passed * _ID_BYTES
            for _ in range(1 + _MAX_MISALIGNED):
                start = self._bytes.find(target, start)
                if start < 0 or start % _ID_BYTES == 0:
                    break
                start += 1
            if start >= 0 and start % _ID_BYTES == 0:
                return start // _ID_BYTES + size
        return None


def _up_to_end(ids: tuple[int, ...], ends_output: Callable[[int], bool] | None) -> tuple[int, ...]:
    """Return the ids up to and including the first that ends the output."""
    if ends_output is None:
        return ids
    size = next((size for size, id_ in enumerate(ids, start=1) if ends_output(id_)), len(ids))
    return ids[:size]


def _to_array(data: bytes | bytearray) -> array[int]:
    ids = array("i")
    ids.frombytes(data)
    return ids


def _to_ids(data: bytes | bytearray) -> tuple[int, ...]:
    return tuple(_to_array(data))
