"""Scores a given text: the log-probability of each token after those before it."""

from __future__ import annotations

from collections.abc import Callable

from engine.api import TokenLogprob
from engine.decoding.logits_reader import LogitsRequest
from engine.decoding.sequence import Step, Steps

CHUNK_TOKENS = 512
"""Maximum number of tokens per step. A step is computed in prefill chunks, as a prompt is."""


def score(
    ids: tuple[int, ...], num_top: int, emit: Callable[[tuple[TokenLogprob | None, ...]], None]
) -> Steps:
    """Yield the steps that score `ids`, which start with an empty KV cache.

    `num_top` is the number of likeliest alternatives per token. `emit` is called once with the
    scores; the first token has none.
    """
    scores: list[TokenLogprob | None] = [None]
    for start in range(0, len(ids), CHUNK_TOKENS):
        chunk = ids[start : start + CHUNK_TOKENS]
        next_ids = ids[start + 1 : start + len(chunk) + 1]
        request = LogitsRequest(num_top, forced_ids=next_ids)
        choices = yield Step(chunk, len(chunk), len(chunk), request)
        scores += choices.logprobs
    emit(tuple(scores))
