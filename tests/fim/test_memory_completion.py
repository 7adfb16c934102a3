"""Completions with passages of the project: explicit requests, second opinions, the cache."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, replace

import pytest

from engine.api import Chunk, EngineInfo, GenerationRequest
from engine.local import LocalEngine
from engine.scripted import ScriptedEngine
from engine.settings import EngineSettings
from fim.completer import Completer
from fim.request.prefetch import snapshot_after_accept
from fim.settings import FimSettings
from fim.snapshot import Passage, SelectedText, Snapshot, Source, Suggestion, Trigger

LINE = "        self.registry_client = make_registry_client("
TEXT = "class A:\n    def set_up(self):\n" + LINE
REST = "self.address, retries=RETRIES_FOR_TESTS)"
PASSAGE = Passage("    def set_up(self):\n" + LINE, REST + "\n        self.more()\n", 80, 3)


def snapshot_of(text: str = TEXT, *passages: Passage) -> Snapshot:
    return Snapshot("u", "python", text + "\n", len(text), passages=passages)


@dataclass
class UnsureEngine(ScriptedEngine):
    """An engine whose tokens have a given log-probability, or none."""

    logprob: float | None = -1.0
    uses_passages: bool = False

    async def info(self) -> EngineInfo:
        return replace(await super().info(), uses_passages=self.uses_passages)

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        async for chunk in super().generate(request):
            scores = tuple(replace(score, logprob=self.logprob or 0.0) for score in chunk.logprobs)
            yield replace(chunk, logprobs=() if self.logprob is None else scores)


def unsure(output: str = "model)\n", **options: object) -> UnsureEngine:
    return UnsureEngine(lambda _: output, **options)  # type: ignore[arg-type]


@pytest.fixture
async def engine() -> AsyncIterator[LocalEngine]:
    engine = LocalEngine(EngineSettings(model="demo"))
    try:
        yield engine
    finally:
        await engine.aclose()


async def suggested(
    engine: LocalEngine | ScriptedEngine,
    snapshot: Snapshot,
    trigger: Trigger = Trigger.AUTOMATIC,
    **settings: object,
) -> list[str]:
    fim = FimSettings(prefetch=False, **settings)  # type: ignore[arg-type]
    result = await Completer(engine, fim).complete(snapshot, trigger)
    return [suggestion.text for suggestion in result.suggestions]


async def test_a_long_match_replaces_the_uncertain_line_of_the_demo_model(
    engine: LocalEngine,
) -> None:
    async def shown(text: str, *passages: Passage, **settings: object) -> list[str]:
        return await suggested(
            engine, snapshot_of(text, *passages), memory_mixing=False, **settings
        )

    alone = await shown(TEXT)
    assert (await engine.info()).uses_passages
    assert await shown(TEXT, PASSAGE) == alone
    assert alone != [REST]
    for text in (TEXT, "# 🎉\n" + TEXT):
        assert await shown(text, PASSAGE, memory_override="always") == [REST]
    assert await shown(TEXT, PASSAGE, memory_override="never") == alone
    contradictions = [replace(PASSAGE, after=f"{n}, 0)\n", match_length=30) for n in "abcdef"]
    assert await shown(TEXT, *contradictions, memory_override="always") == alone


@pytest.mark.parametrize("text", [TEXT, "# 🎉\n" + TEXT, TEXT[:-3]])
async def test_the_engine_mixes_the_passages_into_its_distribution(
    engine: LocalEngine, text: str
) -> None:
    rest = TEXT.removeprefix(text) if TEXT.startswith(text) else ""
    passage = replace(PASSAGE, before=TEXT.removesuffix(rest), after=rest + PASSAGE.after)
    snapshot = snapshot_of(text, passage)
    assert await suggested(engine, snapshot) == [rest + REST]
    assert await suggested(engine, snapshot, memory_mixing=False) != [rest + REST]
    assert await suggested(engine, snapshot_of(text)) != [rest + REST]


async def test_an_explicit_request_gets_texts_of_the_project_too(engine: LocalEngine) -> None:
    other = replace(PASSAGE, after="self.other_address)\n", match_length=60, count=1)
    third = replace(PASSAGE, after="self.third_address)\n", match_length=50, count=1)
    snapshot = snapshot_of(TEXT, PASSAGE, other, third)
    fim = FimSettings(prefetch=False, memory_override="never", memory_mixing=False)
    result = await Completer(engine, fim).complete(snapshot, Trigger.INVOKED)
    texts = [suggestion.text for suggestion in result.suggestions]
    assert texts[0] == REST
    assert "self.other_address)" in texts
    assert "self.third_address)" not in texts
    assert len(texts) == len(set(texts)) > 2
    confidences = [suggestion.confidence for suggestion in result.suggestions]
    assert confidences == sorted(confidences, reverse=True)
    without = await suggested(
        engine,
        snapshot,
        Trigger.INVOKED,
        memory_override="never",
        memory_candidates=0,
        memory_mixing=False,
    )
    assert without == [text for text in texts if not text.startswith("self.") or text in without]
    assert REST not in without
    single = await suggested(
        engine,
        snapshot,
        Trigger.INVOKED,
        memory_override="never",
        candidates=1,
        memory_mixing=False,
    )
    assert len(single) == 1
    assert REST not in single


async def test_the_models_text_is_not_repeated() -> None:
    passage = replace(PASSAGE, after="model)\n")
    assert await suggested(unsure(), snapshot_of(TEXT, passage), Trigger.INVOKED) == ["model)"]
    assert await suggested(unsure(logprob=None), snapshot_of(TEXT, passage), Trigger.INVOKED) == [
        "model)"
    ]


@pytest.mark.parametrize(
    ("logprob", "uses_passages", "override", "expected"),
    [
        (-1.0, False, "auto", REST),
        (-1.0, True, "auto", "model)"),
        (-1.0, True, "always", REST),
        (-1.0, False, "never", "model)"),
        (-0.0001, False, "auto", "model)"),
        (None, False, "auto", "model)"),  # a match of 80 characters, but not certain enough
    ],
)
async def test_an_engine_that_uses_no_passages_gets_a_second_opinion(
    logprob: float | None, uses_passages: bool, override: str, expected: str
) -> None:
    engine = unsure(logprob=logprob, uses_passages=uses_passages)
    snapshot = snapshot_of(TEXT, replace(PASSAGE, count=1))
    texts = await suggested(engine, snapshot, memory_override=override, eagerness="eager")
    assert texts in ([expected], [] if expected == "model)" else [expected])
    invoked = await suggested(
        engine, snapshot, Trigger.INVOKED, memory_override=override, candidates=1
    )
    assert invoked == [expected]


async def test_without_log_probabilities_a_very_long_match_is_shown() -> None:
    certain = replace(PASSAGE, match_length=200, count=20)
    snapshot = snapshot_of(TEXT, certain)
    assert await suggested(unsure(logprob=None), snapshot) == [REST]
    shorter = replace(PASSAGE, match_length=60, count=20)
    assert await suggested(unsure(logprob=None), snapshot_of(TEXT, shorter)) == ["model)"]


async def test_a_text_of_the_project_is_cached_and_typed_through() -> None:
    engine = unsure()
    completer = Completer(engine, FimSettings(prefetch=False))
    first = await completer.complete(snapshot_of(TEXT, PASSAGE))
    assert first.suggestions[0].text == REST
    assert first.source is Source.MODEL
    again = await completer.complete(snapshot_of())
    typed = await completer.complete(snapshot_of(TEXT + REST[:12]))
    assert [again.source, typed.source] == [Source.CACHE, Source.TYPED_THROUGH]
    assert again.suggestions[0].text == REST
    assert typed.suggestions[0].text == REST[12:]
    assert typed.suggestions[0].confidence > first.suggestions[0].confidence
    assert len(engine.requests) == 1


async def test_a_joining_request_gets_the_text_of_the_project_or_another_request() -> None:
    # The text of the project begins like the output of the model.
    engine = unsure("self.adverb)\n", seconds_per_token=0.01)
    completer = Completer(engine, FimSettings(prefetch=False))
    running = asyncio.create_task(completer.complete(snapshot_of(TEXT, PASSAGE)))
    while engine.tokens_written < 3:  # noqa: ASYNC110
        await asyncio.sleep(0.002)
    joined = await completer.complete(snapshot_of(TEXT + "self.ad", PASSAGE))
    assert joined.source is Source.JOINED
    assert joined.suggestions[0].text == REST.removeprefix("self.ad")
    assert (await running).suggestions[0].text == REST
    assert len(engine.requests) == 1


async def test_typing_the_models_text_against_that_of_the_project_makes_another_request() -> None:
    engine = unsure("self.adverb)\n", seconds_per_token=0.01)
    completer = Completer(engine, FimSettings(prefetch=False))
    running = asyncio.create_task(completer.complete(snapshot_of(TEXT, PASSAGE)))
    while engine.tokens_written < 3:  # noqa: ASYNC110
        await asyncio.sleep(0.002)
    other = await completer.complete(snapshot_of(TEXT + "self.adv"), Trigger.INVOKED)
    assert other.source is Source.MODEL
    assert (await running).suggestions[0].text == REST
    assert len(engine.requests) > 1


async def test_passages_are_those_of_the_cursor() -> None:
    seen: list[Snapshot] = []

    async def add_passages(snapshot: Snapshot, *, excerpts: bool, passages: bool) -> Snapshot:
        assert passages
        assert excerpts  # the scripted model has room for them
        seen.append(snapshot)
        is_first = snapshot.text.startswith(TEXT) and snapshot.cursor == len(TEXT)
        return replace(snapshot, passages=(PASSAGE,) if is_first else ())

    completer = Completer(unsure(), FimSettings(), context_provider=add_passages)
    result = await completer.complete(snapshot_of())
    await completer.idle()
    assert result.suggestions[0].text == REST
    # The next line is prefetched, with passages of its own.
    assert [snapshot.cursor > len(TEXT) for snapshot in seen] == [False, True]
    assert all(snapshot.passages == () for snapshot in seen)
    item = SelectedText(len(TEXT), len(TEXT), "self.name")
    await completer.complete(snapshot_of(TEXT, PASSAGE), Trigger.INVOKED, item)
    assert seen[-1].passages == ()


def test_the_place_that_is_prefetched_has_no_passages_of_the_old_cursor() -> None:
    snapshot = snapshot_of(TEXT, PASSAGE)
    accepted = Suggestion("", REST, snapshot.cursor, snapshot.cursor, Source.MODEL)
    following = snapshot_after_accept(snapshot, accepted)
    assert following is not None
    assert following.passages == ()


async def test_a_long_line_is_no_problem(engine: LocalEngine) -> None:
    line = "x = [" + "0," * 500_000
    passage = Passage(line, "1," * 500_000 + "]\n", 500)
    snapshot = snapshot_of(line, passage)
    texts = await suggested(engine, snapshot, Trigger.INVOKED, memory_override="always")
    assert all(len(text) <= 4_000 for text in texts)
