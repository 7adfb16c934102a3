"""A sequence: one running request with its KV cache, computed step by step.

The decoding of a request is a generator. It yields steps, and is sent what was read from the logits
of each (`engine.decoding.generation`). So the same code runs alone and in a batch.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import NamedTuple

from engine.api import TokenLogprob
from engine.decoding.logits_reader import LogitsRequest, TokenChoices
from engine.kv_cache.cache import KVCache
from engine.network.batch import BatchEntry
from engine.network.lora import Adapter


class Step(NamedTuple):
    """Token ids to compute after those that the KV cache holds."""

    ids: tuple[int, ...]
    num_committed: int
    """Number of ids, from the first, that belong to the sequence. The rest are draft tokens."""
    num_logits: int = 1
    """Number of ids, from the last, whose logits are needed."""
    logits_request: LogitsRequest | None = None
    """Values to read from these logits; None for the logits alone."""


Steps = Generator[Step, TokenChoices, None]
"""A generator that yields steps and is sent what was read from the logits of each."""


class TokenSequence:
    """A KV cache and the steps that fill it."""

    def __init__(self, steps: Steps, cache: KVCache, adapter: Adapter | None = None) -> None:
        """Start the steps. Raises the errors that `steps` raises before its first step."""
        self.cache = cache
        self._steps, self._adapter = steps, adapter
        self._num_computed = 0
        """Number of ids of the current step that are computed."""
        self._scores: list[TokenLogprob] = []
        """What was read from the logits of these ids, if the step scores given ids."""
        self._step: Step | None = next(steps)

    @property
    def num_left(self) -> int:
        """Number of ids that the current step still has to compute; 0 at the end of all steps."""
        return 0 if self._step is None else len(self._step.ids) - self._num_computed

    def next_entry(self, max_rows: int) -> tuple[BatchEntry, LogitsRequest | None]:
        """Return the next part of the current step, and the request for its logits.

        The part has at most `max_rows` ids. Ids whose logits are needed stay together, except in a
        step that only scores given ids.
        """
        step = self._step
        assert step is not None
        if step.logits_request is not None and step.logits_request.forced_ids is not None:
            return self._next_scored(step, step.logits_request, max_rows)
        num_without_logits = len(step.ids) - step.num_logits - self._num_computed
        if num_without_logits > 0 and self.num_left > max_rows:
            end = self._num_computed + min(max(1, max_rows), num_without_logits)
            ids = step.ids[self._num_computed : end]
            return BatchEntry(ids, self.cache, 0, self._adapter), None
        ids = step.ids[self._num_computed :]
        return BatchEntry(ids, self.cache, step.num_logits, self._adapter), step.logits_request

    def _next_scored(
        self, step: Step, request: LogitsRequest, max_rows: int
    ) -> tuple[BatchEntry, LogitsRequest]:
        assert request.forced_ids is not None
        assert step.num_logits == len(step.ids)
        part = slice(self._num_computed, self._num_computed + max(1, max_rows))
        ids = step.ids[part]
        entry = BatchEntry(ids, self.cache, len(ids), self._adapter)
        return entry, request._replace(forced_ids=request.forced_ids[part])

    def advance(self, entry: BatchEntry, choices: TokenChoices) -> None:
        """Record that `entry` was computed: commit its rows, and go to the next step at its end."""
        step = self._step
        assert step is not None
        end = self._num_computed + len(entry.ids)
        self.cache.commit(step.ids[self._num_computed : min(end, step.num_committed)])
        self._num_computed = end
        if end < len(step.ids):
            self._scores += choices.logprobs
            return
        if self._scores:
            choices = choices._replace(logprobs=[*self._scores, *choices.logprobs])
        self._num_computed, self._scores = 0, []
        try:
            self._step = self._steps.send(choices)
        except StopIteration:
            self._step = None

    def close(self) -> None:
        """Stop the steps where they are."""
        self._steps.close()
        self._step = None
