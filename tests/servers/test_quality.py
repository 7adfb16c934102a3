"""A server with our model gives the same text as our engine."""

from functools import cache

from benchmarks.servers.greedy import Output, generate_all, greedy_prompts
from benchmarks.servers.half_typed import HalfTyped, completed, half_typed_words
from engine.client.http import HttpEngine
from engine.local import LocalEngine

PROMPTS = 50
IDENTICAL = {"llama": 49, "vllm": 50, "router": 50, "litellm": 50}
"""Prompts whose greedy output must be the same. llama.cpp adds numbers in another order."""
WORDS = 150
HEALED = 0.9
"""The part of the words completed by our engine that a server must complete, too."""

_completed_by_us: list[bool] = []
_greedy_by_us: list[Output] = []


@cache
def words() -> list[HalfTyped]:
    return half_typed_words(WORDS)


async def test_the_greedy_output_is_that_of_our_engine(
    name: str, remote: HttpEngine, ours: LocalEngine
) -> None:
    prompts = greedy_prompts(await ours.tokenizer(), PROMPTS)
    if not _greedy_by_us:
        _greedy_by_us.extend(await generate_all(ours, prompts))
    outputs = await generate_all(remote, prompts)
    texts = [[output.text for output in each] for each in (_greedy_by_us, outputs)]
    assert len(texts[0]) == len(texts[1]) == PROMPTS
    assert sum(map(str.__eq__, *texts)) >= IDENTICAL[name]


async def test_half_typed_words_are_completed_as_by_our_engine(
    remote: HttpEngine, ours: LocalEngine
) -> None:
    if not _completed_by_us:
        _completed_by_us.extend(await completed(ours, words()))
    assert len(_completed_by_us) == WORDS
    assert sum(_completed_by_us) > WORDS // 2
    assert sum(await completed(remote, words())) >= HEALED * sum(_completed_by_us)
