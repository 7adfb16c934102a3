"""A request on its way answers all that it agrees with, and stops when nobody wants it."""

import asyncio
from string import ascii_letters

import pytest

from engine.errors import EngineLostError
from engine.scripted import ScriptedEngine
from fim.completer import Completer
from fim.request.in_flight import GRACE_S
from fim.settings import FimSettings
from fim.snapshot import Snapshot, Source, Trigger

ANSWER = "total + 1\n"


def at(line: str, after: str = "\n") -> Snapshot:
    return Snapshot("file:///a.py", "python", line + after, len(line))


def slow(answer: str = ANSWER) -> tuple[Completer, ScriptedEngine]:
    engine = ScriptedEngine(lambda _: answer, 0.02)
    return Completer(engine, FimSettings(prefetch=False, candidates=1)), engine


async def begun(engine: ScriptedEngine, tokens: int = 3) -> None:
    while engine.tokens_written < tokens:  # noqa: ASYNC110
        await asyncio.sleep(0.005)


async def test_typing_along_an_answer_on_its_way_waits_for_it() -> None:
    completer, engine = slow()
    first = asyncio.create_task(completer.complete(at("x = ")))
    await begun(engine)
    # As VS Code does at a key: the old request is taken back, the next is sent.
    first.cancel()
    assert not completer.needs_model(at("x = to"))
    result = await completer.complete(at("x = to"))
    assert result.source is Source.JOINED
    assert result.suggestions[0].text == "tal + 1"
    assert len(engine.requests) == 1
    # What has landed is known, at every place along it.
    again = await completer.complete(at("x = total"))
    assert (again.source, again.suggestions[0].text) == (Source.TYPED_THROUGH, " + 1")


async def test_typing_ahead_of_it_waits_until_it_disagrees() -> None:
    completer, engine = slow()
    first = asyncio.create_task(completer.complete(at("x = ")))
    await begun(engine, 1)
    first.cancel()
    # More was typed than is written: it may still be right.
    result = await completer.complete(at("x = total"))
    assert result.suggestions[0].text == " + 1"
    assert len(engine.requests) == 1


async def test_an_answer_that_turns_out_otherwise_is_stopped_and_asked_anew() -> None:
    completer, engine = slow("total + " + ascii_letters * 9)
    first = asyncio.create_task(completer.complete(at("x = ")))
    await begun(engine, 1)
    first.cancel()
    ahead = asyncio.create_task(completer.complete(at("x = toast")))
    while len(engine.requests) < 2:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    assert engine.stopped_early == 1
    assert engine.tokens_written < 10
    ahead.cancel()


async def test_another_key_asks_anew_and_the_old_is_out_of_the_way_at_once() -> None:
    completer, engine = slow("y" + ascii_letters * 9)
    first = asyncio.create_task(completer.complete(at("x = ")))
    await begun(engine)
    first.cancel()
    assert completer.needs_model(at("x = z"))
    second = asyncio.create_task(completer.complete(at("x = z")))
    await asyncio.sleep(0.01)
    assert engine.stopped_early == 1
    second.cancel()
    await asyncio.sleep(GRACE_S + 0.05)
    assert engine.stopped_early == 2


async def test_two_who_ask_the_same_are_answered_by_one() -> None:
    completer, engine = slow()
    results = await asyncio.gather(
        completer.complete(at("x = ")), completer.complete(at("x = "), Trigger.INVOKED)
    )
    assert [r.suggestions[0].text for r in results] == ["total + 1"] * 2
    assert len(engine.requests) == 1


async def test_one_who_leaves_does_not_stop_it_for_the_other() -> None:
    completer, engine = slow()
    one, other = (asyncio.create_task(completer.complete(at("x = "))) for _ in range(2))
    await begun(engine)
    one.cancel()
    assert (await other).suggestions
    assert engine.stopped_early == 0 or engine.tokens_written >= len("total + 1")


@pytest.mark.parametrize("there", [at("x = ", "\nmore\n"), at("y = "), at("x ")])
async def test_other_places_do_not_join(there: Snapshot) -> None:
    completer, engine = slow()
    first = asyncio.create_task(completer.complete(at("x = ")))
    await begun(engine)
    assert completer.needs_model(there)
    first.cancel()


async def test_an_error_reaches_everybody_who_waits_and_the_next_asks_anew() -> None:
    lost = True

    def script(_: object) -> str:
        if lost:
            raise EngineLostError("gone")
        return ANSWER

    completer = Completer(ScriptedEngine(script), FimSettings())
    results = await asyncio.gather(
        *(completer.complete(at("x = ")) for _ in range(3)), return_exceptions=True
    )
    assert [type(result) for result in results] == [EngineLostError] * 3
    lost = False
    assert (await completer.complete(at("x = "))).suggestions


async def test_a_new_model_ends_what_the_old_one_writes() -> None:
    completer, engine = slow("y" + ascii_letters * 9)
    first = asyncio.create_task(completer.complete(at("x = ")))
    await begun(engine)
    completer.reset()
    while len(engine.requests) < 2:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    assert engine.stopped_early == 1
    first.cancel()
