"""The decoding of one request: from the choices of each step to token ids, text and the next
step."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass

import torch

from engine.api import Chunk, FinishReason, GenerationRequest, TokenLogprob, Usage
from engine.decoding.draft_length import DraftLengths
from engine.decoding.draft_model import DraftModel
from engine.decoding.drafter import Drafter
from engine.decoding.logits_reader import LogitsRequest, TokenChoices, read_logits
from engine.decoding.memory_text import ContinuationTokens, MemoryText
from engine.decoding.mixture import Mixer
from engine.decoding.sampler import Sampler
from engine.decoding.sequence import Step, Steps
from engine.decoding.stop_text import StopText
from engine.decoding.token_healing import (
    ForcedPrefix,
    search_forced_prefix,
    split_usual_ids,
)
from engine.decoding.vocabulary import (
    Vocabulary,
    check_forced_prefix,
    unsupported_forced_prefix,
)
from engine.kv_cache.cache import KVCache
from engine.network.lora import Adapter
from engine.network.model import LoadedModel


@dataclass(frozen=True, slots=True)
class DecodingContext:
    """The objects that all requests to one model share while they are decoded."""

    model: LoadedModel
    vocabulary: Vocabulary
    """Bytes of the model's tokens."""
    continuation_tokens: ContinuationTokens
    """Tokens of what follows in passages of a project."""
    draft_lengths: DraftLengths
    """Chooses numbers of draft tokens for the model's step costs."""
    draft_model: DraftModel | None = None
    """Small model that proposes draft tokens, or None."""

    @classmethod
    def of(cls, model: LoadedModel, draft_model: LoadedModel | None = None) -> DecodingContext:
        """Return a context for a model, and for a draft model if there is one."""
        vocabulary = Vocabulary(model.tokenizer)
        return cls(
            model,
            vocabulary,
            ContinuationTokens(vocabulary),
            DraftLengths(model.costs),
            DraftModel(draft_model) if draft_model else None,
        )


def check_request(model: LoadedModel, request: GenerationRequest, adapter: Adapter | None) -> None:
    """Raise RequestError for a request that cannot be generated."""
    model.check_prompt(request.prompt, adapter)
    model.check_ids(request.draft_tokens, adapter)
    check_forced_prefix(request.forced_prefix)


def generate(
    context: DecodingContext,
    request: GenerationRequest,
    cache: KVCache,
    emit: Callable[[Chunk], None],
    other_rows: Callable[[], int] = lambda: 0,
) -> Steps:
    """Yield the steps that generate the output of a request.

    `cache` holds a prefix of the prompt. `emit` is called with each chunk of the output.
    `other_rows` returns the number of rows that the next step computes for other sequences. The
    request must have passed `check_request`.
    """
    generation = _Generation(context, request, cache, other_rows)
    try:
        yield from generation.prefill()
        while generation.finish is None:
            if generation.text:
                emit(generation.next_chunk())
            yield from generation.decode()
        emit(generation.last_chunk())
    finally:
        generation.close()


class _Generation:
    """The output of a request so far: its ids, and the text that is not emitted yet."""

    def __init__(
        self,
        context: DecodingContext,
        request: GenerationRequest,
        cache: KVCache,
        other_rows: Callable[[], int],
    ) -> None:
        model = context.model
        self._context, self._request, self._cache = context, request, cache
        self._other_rows = other_rows
        self._sampler = Sampler(request.sampling, request.prompt)
        draft_model = context.draft_model
        model_draft = (
            draft_model.start(request.prompt, len(cache.ids), model.costs) if draft_model else None
        )
        self._memory = _memory_text(context, request)
        self._mixer = _mixer(context, request, self._memory)
        is_draft = request.memory is not None and request.memory.is_draft
        self._drafter = Drafter(
            request.prompt,
            request.draft_tokens,
            context.draft_lengths,
            model_draft,
            self._memory if is_draft else None,
        )
        self._decoder = model.tokenizer.stream()
        self._stop_text = StopText(
            request.stop_text,
            len(request.forced_prefix),
            single_line=request.single_line,
            continue_line_after=request.continue_line_after,
        )
        self._stop_ids = model.end_ids | request.stop_ids
        max_in_window = model.context_window - len(request.prompt)
        self._num_left = min(request.max_new_tokens, max_in_window)
        """Number of tokens that may still be generated."""
        self._next_ids: tuple[int, ...] = ()
        """Chosen ids whose rows the KV cache does not hold yet."""
        self._pending_ids: list[int] = []
        self._pending_logprobs: list[TokenLogprob] = []
        self._pending_ends: list[int] = []
        self._num_reused = len(cache.ids)
        self._num_written = 0
        """Number of tokens generated so far."""
        self._started = self._prefilled = time.perf_counter()
        self.text = ""
        """Complete text that is not emitted yet."""
        self.finish: FinishReason | None = None

    def prefill(self) -> Steps:
        """Compute the rest of the prompt and choose the first tokens."""
        rest = self._request.prompt[self._num_reused :]
        if not self._request.forced_prefix:
            yield from self._compute(rest)
            return
        usual_ids = tuple(self._context.model.tokenizer.encode(self._request.forced_prefix))
        fixed_ids, searched_ids = split_usual_ids(usual_ids[: self._num_left])
        rest += fixed_ids
        choices = yield Step(rest, len(rest))
        self._prefilled = time.perf_counter()
        self._add_all(self._choices_without_alternative(fixed_ids))
        prefix = yield from self._search_forced_prefix(choices, searched_ids)
        request = LogitsRequest(self._request.logprobs, forced_ids=prefix.ids)
        self._next_ids = prefix.ids
        self._add_all(read_logits([prefix.logits], [request])[0])

    def decode(self) -> Steps:
        """Compute the tokens chosen last and choose the next ones."""
        yield from self._compute(self._next_ids)

    def _compute(self, ids: tuple[int, ...]) -> Steps:
        """Yield one step: `ids`, followed by draft tokens."""
        draft = self._propose_draft(len(ids))
        sampler = None if self._sampler.needs_no_processing else self._sampler
        request = LogitsRequest(
            self._request.logprobs, sampler, self._num_written, draft, mixer=self._mixer
        )
        choices = yield Step((*ids, *draft), len(ids), 1 + len(draft), request)
        if not self._num_written:
            self._prefilled = time.perf_counter()
        self._take_choices(choices, draft)

    def _propose_draft(self, num_ids: int) -> tuple[int, ...]:
        rows_left = self._context.model.context_window - len(self._cache.ids) - num_ids
        ends_output = self._is_line_end if self._stop_text.ends_with_line else None
        max_tokens = min(rows_left, self._num_left - 1)
        return self._drafter.propose(max_tokens, self._other_rows(), ends_output)

    def _is_line_end(self, id_: int) -> bool:
        return b"\n" in self._context.vocabulary.bytes_of(id_)

    def _take_choices(self, choices: TokenChoices, draft: tuple[int, ...]) -> None:
        """Add the chosen tokens, up to the first that differs from the draft."""
        num_right = 0
        for index, chosen in enumerate(choices.ids):
            if chosen in self._stop_ids:
                self.finish = FinishReason.STOP
                break
            self._add(choices, index)
            if index == len(draft) or chosen != draft[index]:
                self._next_ids = (chosen,)
                break
            num_right += 1
            if self.finish is not None:
                break
            self._cache.commit((chosen,))
        # Draft tokens after the end of the output were not wrong.
        self._drafter.record_result(num_right if self.finish else len(draft), num_right)

    def _search_forced_prefix(
        self, choices: TokenChoices, usual_ids: tuple[int, ...]
    ) -> Generator[Step, TokenChoices, ForcedPrefix]:
        """Search the rest of the forced prefix, whose usual tokenization ends in `usual_ids`."""
        prefix = self._request.forced_prefix.encode()
        vocabulary = self._context.vocabulary
        written = b"".join(map(vocabulary.bytes_of, self._pending_ids))
        if not prefix.startswith(written):
            raise unsupported_forced_prefix()
        return search_forced_prefix(
            choices.logits,
            prefix[len(written) :],
            usual_ids,
            vocabulary,
            self._sampler,
            self._num_left,
            self._mixer,
        )

    def _choices_without_alternative(self, ids: tuple[int, ...]) -> TokenChoices:
        """Return the choice of ids each of which was the only one allowed."""
        num_top = self._request.logprobs
        if num_top is None:
            return TokenChoices(torch.empty(0), ids)
        scores = [TokenLogprob(id_, 0.0, ((id_, 0.0),)[:num_top]) for id_ in ids]
        return TokenChoices(torch.empty(0), ids, scores)

    def _add_all(self, choices: TokenChoices) -> None:
        for index in range(len(choices.ids)):
            self._add(choices, index)

    def _add(self, choices: TokenChoices, index: int) -> None:
        """Add a token to the output, and to `text` what is complete with it."""
        chosen = choices.ids[index]
        self._num_left -= 1
        self._num_written += 1
        self._sampler.add(chosen)
        self._drafter.add(chosen)
        if self._memory is not None:
            self._memory.write(chosen)
        self._pending_ids.append(chosen)
        if choices.logprobs:
            self._pending_logprobs.append(choices.logprobs[index])
        self.text += self._stop_text.feed(self._decoder.feed_one(chosen))
        self._pending_ends.append(len(self.text))
        if self._stop_text.reached:
            self.finish = FinishReason.STOP
        elif self._num_left == 0:
            self.finish = FinishReason.LENGTH

    def close(self) -> None:
        """Release what is kept for the request."""
        self._drafter.close()

    def last_chunk(self) -> Chunk:
        """Return the last chunk, which includes all text that was held back."""
        if not self._stop_text.reached:
            self.text += self._stop_text.feed(self._decoder.flush())
            self.text += self._stop_text.flush()
        usage = Usage(
            prompt_tokens=len(self._request.prompt),
            completion_tokens=self._num_written,
            reused_tokens=self._num_reused,
            prefill_ms=(self._prefilled - self._started) * 1000,
            decode_ms=(time.perf_counter() - self._prefilled) * 1000,
            drafted_tokens=self._drafter.num_drafted,
            accepted_tokens=self._drafter.num_accepted,
        )
        return self.next_chunk(usage)

    def next_chunk(self, usage: Usage | None = None) -> Chunk:
        """Return all output since the previous chunk; `usage` marks the last one."""
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


def _memory_text(context: DecodingContext, request: GenerationRequest) -> MemoryText | None:
    """Return the passages of a request, or None if it has none."""
    if request.memory is None or not request.memory.passages:
        return None
    line_ends = context.vocabulary.line_end_ids if request.single_line else ()
    return MemoryText(request.memory, context.continuation_tokens, frozenset(line_ends))


def _mixer(
    context: DecodingContext, request: GenerationRequest, text: MemoryText | None
) -> Mixer | None:
    """Return what mixes the passages of a request into its logits, or None."""
    if text is None or request.memory is None or not request.memory.is_mixed:
        return None
    return Mixer(text, context.vocabulary.line_end_ids if request.single_line else ())
