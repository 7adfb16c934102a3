"""Decoding one request alone, and what every decoding needs of a model."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch

from engine.api import Chunk, GenerationRequest, TokenLogprob
from engine.decoding.draft_model import DraftModel
from engine.decoding.generation import generation
from engine.decoding.logits_reader import Choice, read
from engine.decoding.sequence import Step, TokenSequence, Work
from engine.decoding.vocabulary import check_forced_prefix
from engine.errors import PromptTooLongError, RequestError
from engine.kv_cache.cache import KVCache
from engine.network.lean_forward import Forward
from engine.network.lora import Adapter
from engine.network.step_costs import StepCosts
from engine.tokenizer import Tokenizer

PREFILL_CHUNK = 512
"""Ids a prefill step: small enough that cancelling is prompt, large enough to be efficient."""


class Cancelled(Exception):  # noqa: N818 - not an error: nobody wants the rest
    """The caller of a request is gone."""


@dataclass(frozen=True, slots=True)
class Decoder:
    """What decoding needs of a model."""

    forward: Forward
    tokenizer: Tokenizer
    context_window: int
    vocab_size: int
    end_ids: frozenset[int]
    """Ids that always end an answer: the model's end of text."""
    costs: StepCosts = field(default_factory=StepCosts)
    """Of its forward passes."""
    draft_model: DraftModel | None = None

    def prepare(self) -> bool:
        """Do a little of what makes later steps faster; whether there is more."""
        small = self.draft_model
        return self.forward.prepare() or (small is not None and small.forward.prepare())

    def check(self, prompt: Sequence[int], adapter: Adapter | None = None) -> None:
        """Raise RequestError for a prompt that cannot be computed."""
        if not prompt:
            raise RequestError("The prompt is empty: send at least one token.")
        self.check_ids(prompt, adapter)
        if len(prompt) >= self.context_window:
            raise PromptTooLongError(
                f"The prompt has {len(prompt)} tokens; with at least one to write, at most "
                f"{self.context_window - 1} fit the context window of {self.context_window}."
            )

    def check_ids(self, ids: Sequence[int], adapter: Adapter | None) -> None:
        """Raise RequestError for ids that the model does not have."""
        added = adapter.tokens if adapter else None
        size = max(self.vocab_size, added.size) if added else self.vocab_size
        if ids and (max(ids) >= size or min(ids) < 0):
            raise RequestError(
                f"The request holds an id outside the model's vocabulary of {size}; "
                "it was probably encoded by another model's tokenizer."
            )

    def answer(
        self, request: GenerationRequest, cache: KVCache, give: Callable[[Chunk], None]
    ) -> Work:
        """Return the work of an answer behind the rows that a cache holds of the prompt.

        `give` is called with each chunk. The prompt is checked already; raises RequestError for
        what else cannot be used.
        """
        self.check_ids(request.draft_tokens, cache.adapter)
        check_forced_prefix(request.forced_prefix)
        return generation(self, request, cache, give)

    def scoring(
        self, ids: Sequence[int], top: int, give: Callable[[list[TokenLogprob | None]], None]
    ) -> Work:
        """Return the work of scoring ids, which are checked already, in an empty cache."""
        return _scoring(tuple(ids), top, give)

    @torch.inference_mode()
    def generate(
        self, request: GenerationRequest, cache: KVCache, cancelled: Callable[[], bool]
    ) -> Iterator[Chunk]:
        """Yield the answer chunk by chunk; see `engine.api.Engine.stream`.

        Raises Cancelled at the first step at which `cancelled()` is true. The cache holds only
        finished rows at every point, so any next request may use it.
        """
        self.check(request.prompt, cache.adapter)
        cache.reuse(request.prompt)
        chunks: deque[Chunk] = deque()
        sequence = TokenSequence(self.answer(request, cache, chunks.append), cache)
        while sequence.left:
            self._compute(sequence, cancelled)
            while chunks:
                yield chunks.popleft()

    @torch.inference_mode()
    def score(
        self, ids: Sequence[int], top: int, cache: KVCache, cancelled: Callable[[], bool]
    ) -> list[TokenLogprob | None]:
        """Return the log-probability of each id after those before it; None for the first."""
        self.check(ids)
        del cache.ids[:]
        scores: list[TokenLogprob | None] = []
        sequence = TokenSequence(self.scoring(ids, top, scores.extend), cache)
        while sequence.left:
            self._compute(sequence, cancelled)
        return scores

    def _compute(self, sequence: TokenSequence, cancelled: Callable[[], bool]) -> None:
        if cancelled():
            raise Cancelled
        part = sequence.part(PREFILL_CHUNK)
        ids = torch.tensor(part.ids, dtype=torch.int64)
        logits = self.forward(ids, sequence.cache, last=part.last)
        sequence.take(part, read([logits], [part.choice])[0])


def _scoring(
    ids: tuple[int, ...], top: int, give: Callable[[list[TokenLogprob | None]], None]
) -> Work:
    scores: list[TokenLogprob | None] = [None]
    for at in range(0, len(ids), PREFILL_CHUNK):
        part = ids[at : at + PREFILL_CHUNK]
        following = ids[at + 1 : at + len(part) + 1]
        reading = yield Step(part, len(part), len(part), Choice(top, given=following))
        scores += reading.logprobs
    give(scores)
