"""The greedy output of an engine for prompts of real code, and its time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass

from benchmarks.servers.half_typed import half_typed_words
from engine.api import Engine, GenerationRequest
from engine.tokenizer import Tokenizer

_PROMPT_TOKENS = 200
_NEW_TOKENS = 24


@dataclass(frozen=True, slots=True)
class Output:
    """The text of one output, and the milliseconds from its request to its end."""

    text: str
    milliseconds: float


def greedy_prompts(tokenizer: Tokenizer, count: int) -> list[tuple[int, ...]]:
    """Return `count` prompts that end at half-typed words, as token ids."""
    words = half_typed_words(count, seed=1)
    return [tuple(tokenizer.encode(word.snapshot.before)[-_PROMPT_TOKENS:]) for word in words]


async def generate(engine: Engine, prompt: tuple[int, ...]) -> Output:
    """Generate up to 24 tokens greedily. Raises the errors of the engine."""
    started, text = time.perf_counter(), ""
    async with aclosing(engine.stream(GenerationRequest(prompt, _NEW_TOKENS))) as stream:
        async for chunk in stream:
            text += chunk.text
    return Output(text, (time.perf_counter() - started) * 1000)


async def generate_all(engine: Engine, prompts: Sequence[tuple[int, ...]]) -> list[Output]:
    """Generate the output of each prompt, one after the other."""
    return [await generate(engine, prompt) for prompt in prompts]
