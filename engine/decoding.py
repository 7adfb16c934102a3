"""The decoding loop: one request, token by token."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.api import Chunk, FinishReason, GenerationRequest, TokenLogprob, Usage
from engine.draft import Drafter
from engine.errors import PromptTooLongError, RequestError
from engine.forward import Forward
from engine.healing import Healing
from engine.kv_cache import KVCache
from engine.lora import Adapter
from engine.sampling import Sampler, logprob, only
from engine.stopping import StopText
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

    @torch.inference_mode()
    def generate(
        self, request: GenerationRequest, cache: KVCache, cancelled: Callable[[], bool]
    ) -> Iterator[Chunk]:
        """Yield the answer chunk by chunk; see `engine.api.Engine.stream`.

        Raises Cancelled at the first step at which `cancelled()` is true. The cache holds only
        finished rows at every point, so any next request may use it.
        """
        # 1. Refuse what cannot be, and reuse what is there.
        self.check(request.prompt, cache.adapter)
        self.check_ids(request.draft, cache.adapter)
        answer = _Answer(request, self)
        reused = cache.reuse(request.prompt)
        # 2. Prefill.
        started = time.perf_counter()
        logits = self._prefill(request.prompt[reused:], cache, cancelled)
        prefilled = time.perf_counter()
        # 3. Decode.
        ahead = _Ahead(self, request, cache, cancelled)
        room = min(request.max_new_tokens, self.context_window - len(request.prompt))
        finish = FinishReason.LENGTH
        while True:
            chosen = answer.choose(logits)
            if chosen in self.end_ids or chosen in request.stop_ids:
                finish = FinishReason.STOP
                break
            answer.add(chosen, logits)
            if answer.stop_text.reached:
                finish = FinishReason.STOP
                break
            if len(answer.ids) >= room:
                break
            if answer.text:
                yield answer.take()
            logits = ahead.after(chosen)
        # 4. Account.
        usage = Usage(
            prompt_tokens=len(request.prompt),
            completion_tokens=len(answer.ids),
            reused_tokens=reused,
            prefill_ms=(prefilled - started) * 1000,
            decode_ms=(time.perf_counter() - prefilled) * 1000,
            drafted_tokens=ahead.drafter.drafted,
            accepted_tokens=ahead.drafter.accepted,
        )
        yield answer.end(finish, usage)

    @torch.inference_mode()
    def score(
        self, ids: Sequence[int], top: int, cache: KVCache, cancelled: Callable[[], bool]
    ) -> list[TokenLogprob | None]:
        """Return the log-probability of each id after those before it; None for the first."""
        self.check(ids)
        cache.ids.clear()
        scores: list[TokenLogprob | None] = [None]
        for at in range(0, len(ids), PREFILL_CHUNK):
            part = ids[at : at + PREFILL_CHUNK]
            logits = self._step(part, cache, cancelled, every=True)
            following = ids[at + 1 : at + len(part) + 1]
            scores += [logprob(row, id_, top) for row, id_ in zip(logits, following, strict=False)]
        return scores

    def _prefill(self, ids: Sequence[int], cache: KVCache, cancelled: Callable[[], bool]) -> Tensor:
        for at in range(0, len(ids), PREFILL_CHUNK):
            logits = self._step(ids[at : at + PREFILL_CHUNK], cache, cancelled)
        return logits

    def _step(
        self, ids: Sequence[int], cache: KVCache, cancelled: Callable[[], bool], *,
        every: bool = False,
    ) -> Tensor:  # fmt: skip
        if cancelled():
            raise Cancelled
        logits = self.forward(torch.tensor(ids, dtype=torch.int64), cache, every=every)
        cache.commit(ids)
        return logits


class _Ahead:
    """Logits after each chosen id, computed for several ids at a time where they can be guessed.

    The rows of a guess lie in the cache behind its end; only those that were chosen are committed.
    """

    def __init__(
        self, decoder: Decoder, request: GenerationRequest, cache: KVCache,
        cancelled: Callable[[], bool],
    ) -> None:  # fmt: skip
        self._decoder, self._cache, self._cancelled = decoder, cache, cancelled
        self._guessed: deque[tuple[int, Tensor]] = deque()
        """Guessed ids, with the logits after each."""
        self._size = 0
        self.drafter = Drafter(request.prompt, request.draft)

    def after(self, chosen: int) -> Tensor:
        """Return the logits after `chosen`, which is thereby part of the sequence."""
        self.drafter.add(chosen)
        if self._guessed and self._guessed[0][0] == chosen:
            _, logits = self._guessed.popleft()
            self._cache.commit((chosen,))
            self.drafter.accepted += 1
            if not self._guessed:
                self.drafter.judge(self._size, self._size)
            return logits
        if self._guessed:
            self.drafter.judge(self._size, self._size - len(self._guessed))
            self._guessed.clear()
        return self._compute(chosen)

    def _compute(self, chosen: int) -> Tensor:
        if self._cancelled():
            raise Cancelled
        room = self._decoder.context_window - len(self._cache.ids) - 1
        guess = self.drafter.propose(room)
        ids = torch.tensor((chosen, *guess), dtype=torch.int64)
        logits = self._decoder.forward(ids, self._cache, every=bool(guess))
        self._cache.commit((chosen,))
        self._size = len(guess)
        if not guess:
            return logits
        self._guessed.extend(zip(guess, logits[1:], strict=True))
        return logits[0]


class _Answer:
    """The answer so far: its ids, and the text that is not given out yet."""

    def __init__(self, request: GenerationRequest, decoder: Decoder) -> None:
        self._request = request
        self._sampler = Sampler(request.sampling)
        self._healing = (
            Healing(request.begin, decoder.tokenizer.vocabulary) if request.begin else None
        )
        self._utf8 = decoder.tokenizer.stream()
        self._pending_ids: list[int] = []
        self._pending_logprobs: list[TokenLogprob] = []
        self.text = ""
        """Complete, and not given out yet."""
        self.stop_text = StopText(request.stop_text, len(request.begin))
        self.ids: list[int] = []

    def choose(self, logits: Tensor) -> int:
        # Only the repetition penalty looks back; a long prompt is not copied for nothing.
        looks_back = self._request.sampling.repetition_penalty != 1.0
        before = (*self._request.prompt, *self.ids) if looks_back else ()
        if self._healing is not None:
            logits = only(logits, self._healing.allowed())
        return self._sampler.choose(logits, before)

    def add(self, chosen: int, logits: Tensor) -> None:
        """Take an id, and into `text` what can be shown with it."""
        self.ids.append(chosen)
        self._pending_ids.append(chosen)
        if self._request.logprobs is not None:
            if self._healing is not None:  # how likely it is, given what it must begin with
                logits = only(logits, self._healing.allowed())
            self._pending_logprobs.append(logprob(logits, chosen, self._request.logprobs))
        if self._healing is not None:
            self._healing.take(chosen)
            self._healing = None if self._healing.done else self._healing
        self.text += self.stop_text.feed(self._utf8.feed((chosen,)))

    def end(self, finish: FinishReason, usage: Usage) -> Chunk:
        """Return the last chunk, with all that was held back."""
        if not self.stop_text.reached:
            self.text += self.stop_text.feed(self._utf8.flush())
            self.text += self.stop_text.flush()
        return self.take(finish, usage)

    def take(self, finish: FinishReason | None = None, usage: Usage | None = None) -> Chunk:
        """Return what came since the chunk before."""
        chunk = Chunk(
            self.text,
            tuple(self._pending_ids),
            tuple(self._pending_logprobs),
            finish,
            usage,
        )
        self.text = ""
        self._pending_ids, self._pending_logprobs = [], []
        return chunk
