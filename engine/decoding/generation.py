"""One answer: from what each step chose to ids, text and the next step."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

from engine.api import Chunk, FinishReason, GenerationRequest, TokenLogprob, Usage
from engine.decoding.drafter import Drafter
from engine.decoding.logits_reader import Choice, Reading, read
from engine.decoding.sampler import Sampler
from engine.decoding.sequence import Step, Work
from engine.decoding.stop_text import StopText
from engine.decoding.token_healing import Beginning, likeliest_beginning
from engine.kv_cache.cache import KVCache

if TYPE_CHECKING:
    from engine.decoding.decoder import Decoder


def generation(
    decoder: Decoder, request: GenerationRequest, cache: KVCache, give: Callable[[Chunk], None]
) -> Work:
    """Work an answer out behind the rows that the cache holds of the prompt."""
    answer = _Answer(decoder, request, cache)
    try:
        yield from answer.prefill()
        while answer.finish is None:
            if answer.text:
                give(answer.take())
            yield from answer.decode()
        give(answer.end())
    finally:
        answer.close()


class _Answer:
    """The answer so far: its ids, and the text that is not given out yet."""

    def __init__(self, decoder: Decoder, request: GenerationRequest, cache: KVCache) -> None:
        self._decoder, self._request, self._cache = decoder, request, cache
        self._sampler = Sampler(request.sampling, request.prompt)
        small, costs = decoder.draft_model, decoder.costs
        guesses = small.begin(request.prompt, len(cache.ids), costs) if small else None
        self._drafter = Drafter(request.prompt, request.draft_tokens, costs, guesses)
        self._utf8 = decoder.tokenizer.stream()
        self._stop_text = StopText(
            request.stop_text,
            len(request.forced_prefix),
            single_line=request.single_line,
            continue_line_after=request.continue_line_after,
        )
        self._stop_ids = decoder.end_ids | request.stop_ids
        room = decoder.context_window - len(request.prompt)
        self._left = min(request.max_new_tokens, room)
        """Ids that may still be written."""
        self._next: tuple[int, ...] = ()
        """Ids chosen, of which the cache has no rows yet."""
        self._pending_ids: list[int] = []
        self._pending_logprobs: list[TokenLogprob] = []
        self._pending_ends: list[int] = []
        self._reused = len(cache.ids)
        self._written: list[int] = []
        self._started = self._prefilled = time.perf_counter()
        self.text = ""
        """Complete, and not given out yet."""
        self.finish: FinishReason | None = None

    def prefill(self) -> Work:
        """Compute the rest of the prompt, and choose what follows it at once."""
        rest = self._request.prompt[self._reused :]
        if not self._request.forced_prefix:
            yield from self._compute(rest)
            return
        reading = yield Step(rest, len(rest))
        self._prefilled = time.perf_counter()
        beginning = yield from self._beginning(reading)
        told = read([beginning.logits], [Choice(self._request.logprobs, given=beginning.ids)])[0]
        self._next = beginning.ids
        for at in range(len(beginning.ids)):
            self._add(told, at)

    def decode(self) -> Work:
        """Compute what was chosen last, and choose what follows."""
        yield from self._compute(self._next)

    def _compute(self, certain: tuple[int, ...]) -> Work:
        rows_left = self._decoder.context_window - len(self._cache.ids) - len(certain)
        ends = self._writes_line_end if self._stop_text.ends_with_line else None
        guess = self._drafter.propose(min(rows_left, self._left - 1), ends)
        sampler = None if self._sampler.plain else self._sampler
        choice = Choice(self._request.logprobs, sampler, len(self._written), guess)
        reading = yield Step((*certain, *guess), len(certain), 1 + len(guess), choice)
        if not self._written:
            self._prefilled = time.perf_counter()
        self._read(reading, guess)

    def _writes_line_end(self, id_: int) -> bool:
        return b"\n" in self._decoder.tokenizer.vocabulary.bytes_of(id_)

    def _read(self, reading: Reading, guess: tuple[int, ...]) -> None:
        """Take the ids that were chosen, as far as the guess was right."""
        right = 0
        for at, chosen in enumerate(reading.ids):
            if chosen in self._stop_ids:
                self.finish = FinishReason.STOP
                break
            self._add(reading, at)
            if at == len(guess) or chosen != guess[at]:
                self._next = (chosen,)
                break
            right += 1
            if self.finish is not None:
                break
            self._cache.commit((chosen,))
        # What the end cut off was not wrong.
        self._drafter.judge(right if self.finish else len(guess), right)

    def _beginning(self, reading: Reading) -> Generator[Step, Reading, Beginning]:
        tokenizer, begin = self._decoder.tokenizer, self._request.forced_prefix
        return likeliest_beginning(
            reading.logits,
            begin.encode(),
            tokenizer.encode(begin)[: self._left],
            tokenizer,
            self._sampler,
            self._left,
        )

    def _add(self, reading: Reading, at: int) -> None:
        """Take an id, and into `text` what can be shown with it."""
        chosen = reading.ids[at]
        self._left -= 1
        self._written.append(chosen)
        self._sampler.add(chosen)
        self._drafter.add(chosen)
        self._pending_ids.append(chosen)
        if reading.logprobs:
            self._pending_logprobs.append(reading.logprobs[at])
        self.text += self._stop_text.feed(self._utf8.feed_one(chosen))
        self._pending_ends.append(len(self.text))
        if self._stop_text.reached:
            self.finish = FinishReason.STOP
        elif self._left == 0:
            self.finish = FinishReason.LENGTH

    def close(self) -> None:
        """Let go of what was held for the answer."""
        self._drafter.close()

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
            tuple(self._pending_ends),
            None if usage is None else self.finish,
            usage,
        )
        self.text = ""
        self._pending_ids, self._pending_logprobs, self._pending_ends = [], [], []
        return chunk
