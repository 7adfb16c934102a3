"""A fake engine that says what it is told, for tests and for work on editor plugins.

It keeps the contract of the real ones: the answer comes token by token and begins as asked, stop
ids and stop text are honoured, closing the stream stops it. It records what it was asked.
"""

from __future__ import annotations

import asyncio
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
    TokenLogprob,
    Usage,
)
from engine.decoding.stop_text import StopText
from engine.errors import PromptTooLongError
from engine.tokenizer import Tokenizer

Script = Callable[[GenerationRequest], str]
"""From a request to the text to answer it with, behind what the answer must begin with."""

_SPECIAL = (
    "<|endoftext|>",
    "<fim_prefix>",
    "<fim_middle>",
    "<fim_suffix>",
    "<fim_pad>",
    "<filename>",
)


def byte_tokenizer(special: Sequence[str] = _SPECIAL) -> Tokenizer:
    """Return a tokenizer whose ids are bytes, behind StarCoder's first special tokens."""
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
    """Everything that was asked, in order."""
    stopped_early: int = 0
    """Streams that were closed before their last chunk."""
    tokens_written: int = 0

    async def health(self) -> Health:
        """Always ready."""
        return Health(EngineState.READY, "scripted", 1.0)

    async def info(self) -> EngineInfo:
        """Return what this pretends to hold."""
        return EngineInfo("scripted", "scripted", self.context_window, "cpu", "float32", False)

    async def tokenizer(self, adapter: str | None = None) -> Tokenizer:
        """Return the tokenizer, whatever the adapter."""
        return self.model_tokenizer

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """See `Engine.stream`."""
        self.requests.append(request)
        finished = False
        try:
            async for chunk in self._write(request):
                finished = chunk.finish is not None
                yield chunk
        finally:
            self.stopped_early += not finished

    async def _write(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        if len(request.prompt) >= self.context_window:
            raise PromptTooLongError(
                f"The prompt's {len(request.prompt)} tokens do not fit {self.context_window}."
            )
        ids = self.model_tokenizer.encode(request.forced_prefix + self.script(request))
        utf8, stop_text, written = (
            self.model_tokenizer.stream(),
            StopText(
                request.stop_text,
                len(request.forced_prefix),
                single_line=request.single_line,
                continue_line_after=request.continue_line_after,
            ),
            0,
        )
        begun = len(self.model_tokenizer.encode(request.forced_prefix))
        finish = FinishReason.STOP
        for id_ in ids:
            if (id_ in request.stop_ids and written >= begun) or stop_text.reached:
                break
            if written == request.max_new_tokens:
                finish = FinishReason.LENGTH
                break
            await asyncio.sleep(self.seconds_per_token)
            written += 1
            self.tokens_written += 1
            scores = () if request.logprobs is None else (TokenLogprob(id_, -0.01),)
            text = stop_text.feed(utf8.feed((id_,)))
            yield Chunk(text, (id_,), scores, (len(text),))
        rest = "" if stop_text.reached else stop_text.feed(utf8.flush()) + stop_text.flush()
        usage = Usage(len(request.prompt), written, 0, 0.0, 0.0)
        yield Chunk(rest, finish=finish, usage=usage)

    async def score(self, ids: tuple[int, ...], top: int) -> list[TokenLogprob | None]:
        """Return the same score for every id."""
        return [None, *(TokenLogprob(id_, -0.5) for id_ in ids[1:])]

    def metrics(self) -> EngineMetrics:
        """Return a step for each token written."""
        return EngineMetrics(self.tokens_written, self.tokens_written, 0, len(self.requests))

    async def aclose(self) -> None:
        """Nothing is held."""
