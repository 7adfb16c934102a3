"""One answer: from the logits of each step to ids, text and the next step."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

from torch import Tensor

from engine.api import Chunk, FinishReason, GenerationRequest, TokenLogprob, Usage
from engine.beginning import likeliest_beginning
from engine.draft import Drafter
from engine.kv_cache import KVCache
from engine.sampling import Sampler, logprob
from engine.steps import Step, Work
from engine.stopping import StopText

if TYPE_CHECKING:
    from engine.decoding import Decoder


def generation(
    decoder: Decoder, request: GenerationRequest, cache: KVCache, give: Callable[[Chunk], None]
) -> Work:
    """Work an answer out behind the rows that the cache holds of the prompt."""
    answer = _Answer(decoder, request, cache)
    yield from answer.prefill()
    while answer.finish is None:
        if answer.text:
            give(answer.take())
        yield from answer.decode()
    give(answer.end())


class _Answer:
    """The answer so far: its ids, and the text that is not given out yet."""

    def __init__(self, decoder: Decoder, request: GenerationRequest, cache: KVCache) -> None:
        self._decoder, self._request, self._cache = decoder, request, cache
        self._sampler = Sampler(request.sampling)
        self._drafter = Drafter(request.prompt, request.draft, decoder.costs)
        self._utf8 = decoder.tokenizer.stream()
        self._stop_text = StopText(request.stop_text, len(request.begin))
        self._stop_ids = decoder.end_ids | request.stop_ids
        room = decoder.context_window - len(request.prompt)
        self._left = min(request.max_new_tokens, room)
        """Ids that may still be written."""
        self._next: tuple[int, ...] = ()
        """Ids chosen, of which the cache has no rows yet."""
        self._pending_ids: list[int] = []
        self._pending_logprobs: list[TokenLogprob] = []
        self._reused = len(cache.ids)
        self._written: list[int] = []
        self._started = self._prefilled = time.perf_counter()
        self.text = ""
        """Complete, and not given out yet."""
        self.finish: FinishReason | None = None

    def prefill(self) -> Work:
        """Compute the rest of the prompt, and choose what follows it at once."""
        rest = self._request.prompt[self._reused :]
        if not self._request.begin:
            yield from self._compute(rest)
            return
        logits = yield Step(rest, len(rest))
        self._prefilled = time.perf_counter()
        for chosen, row in (yield from self._beginning(logits[0])):
            self._add(chosen, row)
            self._next = (*self._next, chosen)

    def decode(self) -> Work:
        """Compute what was chosen last, and choose what follows."""
        yield from self._compute(self._next)

    def _compute(self, certain: tuple[int, ...]) -> Work:
        rows_left = self._decoder.context_window - len(self._cache.ids) - len(certain)
        guess = self._drafter.propose(min(rows_left, self._left - 1))
        logits = yield Step((*certain, *guess), len(certain), 1 + len(guess))
        if not self._written:
            self._prefilled = time.perf_counter()
        self._read(logits, guess)

    def _read(self, logits: Tensor, guess: tuple[int, ...]) -> None:
        """Take the ids that the logits choose, as far as the guess was right."""
        right = 0
        for row, guessed in zip(logits, (*guess, None), strict=True):
            chosen = self._sampler.choose(row, self._before())
            if chosen in self._stop_ids:
                self.finish = FinishReason.STOP
                break
            self._add(chosen, row)
            if chosen == guessed:
                right += 1
            if self.finish is not None or chosen != guessed:
                self._next = (chosen,)
                break
            self._cache.commit((chosen,))
        # What the end cut off was not wrong.
        self._drafter.judge(right if self.finish else len(guess), right)

    def _before(self) -> tuple[int, ...]:
        # Only the repetition penalty looks back; a long prompt is not copied for nothing.
        looks_back = self._request.sampling.repetition_penalty != 1.0
        return (*self._request.prompt, *self._written) if looks_back else ()

    def _beginning(self, logits: Tensor) -> Generator[Step, Tensor, list[tuple[int, Tensor]]]:
        tokenizer, begin = self._decoder.tokenizer, self._request.begin
        return likeliest_beginning(
            logits, begin.encode(), tokenizer.encode(begin)[: self._left], tokenizer.vocabulary,
            lambda row: self._sampler.penalized(row, self._before()), self._sampler, self._left,
        )  # fmt: skip

    def _add(self, chosen: int, logits: Tensor) -> None:
        """Take an id, and into `text` what can be shown with it."""
        self._left -= 1
        self._written.append(chosen)
        self._drafter.add(chosen)
        self._pending_ids.append(chosen)
        if self._request.logprobs is not None:
            self._pending_logprobs.append(logprob(logits, chosen, self._request.logprobs))
        self.text += self._stop_text.feed(self._utf8.feed((chosen,)))
        if self._stop_text.reached:
            self.finish = FinishReason.STOP
        elif self._left == 0:
            self.finish = FinishReason.LENGTH

    def end(self) -> Chunk:
        """Return the last chunk, with all that was held back."""
        if not self._stop_text.reached:
            self.text += self._stop_text.feed(self._utf8.flush())
            self.text += self._stop_text.flush()
        usage = Usage(
            prompt_tokens=len(self._request.prompt),
            completion_tokens=len(self._written),
            reused_tokens=self._reused,
            prefill_ms=(self._prefilled - self._started) * 1000,
            decode_ms=(time.perf_counter() - self._prefilled) * 1000,
            drafted_tokens=self._drafter.drafted,
            accepted_tokens=self._drafter.accepted,
        )
        return self.take(usage)

    def take(self, usage: Usage | None = None) -> Chunk:
        """Return what came since the chunk before."""
        chunk = Chunk(
            self.text,
            tuple(self._pending_ids),
            tuple(self._pending_logprobs),
            None if usage is None else self.finish,
            usage,
        )
        self.text = ""
        self._pending_ids, self._pending_logprobs = [], []
        return chunk
