"""A fake engine with scripted outputs, for tests and for work on editor plugins.

It keeps the contract of the real engines. The output arrives token by token and starts with the
forced prefix, stop ids and stop text end it, and closing the stream stops it. The engine records
all requests.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field

import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from engine.api import (
    Chunk,
    EngineInfo,
    EngineMetrics,
    EngineState,
    FinishReason,
    GenerationRequest,
    Health,
    Progress,
    TokenLogprob,
    Usage,
)
from engine.decoding.stop_text import StopText
from engine.errors import PromptTooLongError
from engine.tokenizer import Tokenizer

Script = Callable[[GenerationRequest], str]
"""Function that returns the output for a request, without the forced prefix."""

_SPECIAL = (
    "<|endoftext|>",
    "<fim_prefix>",
    "<fim_middle>",
    "<fim_suffix>",
    "<fim_pad>",
    "<filename>",
)


def byte_tokenizer(special: Sequence[str] = _SPECIAL) -> Tokenizer:
    """Return a tokenizer with one token per byte, after StarCoder's first special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: id_ for id_, token in enumerate([*special, *alphabet])}
    inner = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(list(special))
    return Tokenizer(inner, "byte tokenizer")


@dataclass
class ScriptedEngine:
    """Implements `engine.api.ScoringEngine` with a script."""

    script: Script
    seconds_per_token: float = 0.0
    context_window: int = 100_000
    model_tokenizer: Tokenizer = field(default_factory=byte_tokenizer)
    requests: list[GenerationRequest] = field(default_factory=list)
    """All requests so far, in order."""
    stopped_early: int = 0
    """Number of streams that were closed before their last chunk."""
    tokens_written: int = 0
    """Number of tokens generated so far."""

    async def health(self) -> Health:
        """Return that the engine is ready."""
        return Health(EngineState.READY, "scripted", 1.0)

    async def info(self) -> EngineInfo:
        """Return a description of the pretended model."""
        return EngineInfo("scripted", "scripted", self.context_window, "cpu", "float32", False)

    async def tokenizer(self, adapter: str | None = None) -> Tokenizer:
        """Return the tokenizer, which is the same for all adapters."""
        return self.model_tokenizer

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """See `Engine.stream`."""
        self.requests.append(request)
        if request.progress is not None:
            request.progress.started = time.monotonic()
        is_finished = False
        try:
            async for chunk in self.generate(request):
                is_finished = chunk.finish is not None
                yield chunk
        finally:
            if not is_finished:
                self.stopped_early += 1

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """Yield the output of a request; subclasses may override it."""
        if len(request.prompt) >= self.context_window:
            raise PromptTooLongError(
                f"The prompt's {len(request.prompt)} tokens do not fit {self.context_window}."
            )
        ids = self.model_tokenizer.encode(request.forced_prefix + self.script(request))
        num_forced = len(self.model_tokenizer.encode(request.forced_prefix))
        utf8, num_tokens = self.model_tokenizer.stream(), 0
        stop_text = StopText(
            request.stop_text,
            len(request.forced_prefix),
            single_line=request.single_line,
            continue_line_after=request.continue_line_after,
        )
        finish = FinishReason.STOP
        for id_ in ids:
            if (id_ in request.stop_ids and num_tokens >= num_forced) or stop_text.reached:
                break
            if num_tokens == request.max_new_tokens:
                finish = FinishReason.LENGTH
                break
            await asyncio.sleep(self.seconds_per_token)
            num_tokens += 1
            self.tokens_written += 1
            if request.progress is not None:
                request.progress.rows = len(request.prompt) + num_tokens
            scores = () if request.logprobs is None else (TokenLogprob(id_, -0.01),)
            text = stop_text.feed(utf8.feed((id_,)))
            yield Chunk(text, (id_,), scores, (len(text),))
        rest = "" if stop_text.reached else stop_text.feed(utf8.flush()) + stop_text.flush()
        usage = Usage(len(request.prompt), num_tokens, 0, 0.0, 0.0)
        yield Chunk(rest, finish=finish, usage=usage)

    async def score(
        self, ids: tuple[int, ...], top: int, *, user: str = "", progress: Progress | None = None
    ) -> list[TokenLogprob | None]:
        """Return the same log-probability for every id but the first."""
        return [None, *(TokenLogprob(id_, -0.5) for id_ in ids[1:])]

    def metrics(self) -> EngineMetrics:
        """Return metrics with one step per generated token."""
        return EngineMetrics(self.tokens_written, self.tokens_written, 0, len(self.requests))

    async def aclose(self) -> None:
        """Do nothing, since the engine owns no resources."""
