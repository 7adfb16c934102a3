"""A request in flight answers every request that agrees with its output, and stops if unused."""

import asyncio
from string import ascii_letters

import pytest

from engine.errors import EngineLostError
from engine.scripted import ScriptedEngine
from fim.completer import Completer
from fim.request.in_flight import GRACE_S
from fim.settings import FimSettings
from fim.snapshot import Snapshot, Source, Trigger

OUTPUT = "total + 1\n"


def snapshot_of(line: str, after: str = "\n") -> Snapshot:
    return Snapshot("file:///a.py", "python", line + after, len(line))


def slow_completer(output: str = OUTPUT) -> tuple[Completer, ScriptedEngine]:
    engine = ScriptedEngine(lambda _: output, 0.02)
    return Completer(engine, FimSettings(prefetch=False, candidates=1)), engine


async def wait_for_tokens(engine: ScriptedEngine, count: int = 3) -> None:
    while engine.tokens_written < count:  # noqa: ASYNC110
        await asyncio.sleep(0.005)


async def test_typing_the_output_of_a_request_in_flight_joins_it() -> None:
    completer, engine = slow_completer()
    first = asyncio.create_task(completer.complete(snapshot_of("x = ")))
    await wait_for_tokens(engine)
    # VS Code does so at a key press: it cancels the old request and sends the next one.
    first.cancel()
    assert not completer.needs_model(snapshot_of("x = to"))
    result = await completer.complete(snapshot_of("x = to"))
    assert result.source is Source.JOINED
    assert result.suggestions[0].text == "tal + 1"
    assert len(engine.requests) == 1
    # The result is cached for every place within the suggestion.
    cached = await completer.complete(snapshot_of("x = total"))
    assert (cached.source, cached.suggestions[0].text) == (Source.TYPED_THROUGH, " + 1")


async def test_typing_faster_than_the_output_joins_while_it_agrees() -> None:
    completer, engine = slow_completer()
    first = asyncio.create_task(completer.complete(snapshot_of("x = ")))
    await wait_for_tokens(engine, 1)
    first.cancel()
    # The user has typed more than the output so far, which may still agree.
    result = await completer.complete(snapshot_of("x = total"))
    assert result.suggestions[0].text == " + 1"
    assert len(engine.requests) == 1


async def test_a_request_that_does_not_agree_is_stopped_and_replaced() -> None:
    completer, engine = slow_completer("total + " + ascii_letters * 9)
    first = asyncio.create_task(completer.complete(snapshot_of("x = ")))
    await wait_for_tokens(engine, 1)
    first.cancel()
    second = asyncio.create_task(completer.complete(snapshot_of("x = toast")))
    while len(engine.requests) < 2:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    assert engine.stopped_early == 1
    assert engine.tokens_written < 10
    second.cancel()


async def test_a_new_request_stops_an_unused_one_immediately() -> None:
    completer, engine = slow_completer("y" + ascii_letters * 9)
    first = asyncio.create_task(completer.complete(snapshot_of("x = ")))
    await wait_for_tokens(engine)
    first.cancel()
    assert completer.needs_model(snapshot_of("x = z"))
    second = asyncio.create_task(completer.complete(snapshot_of("x = z")))
    await asyncio.sleep(0.01)
    assert engine.stopped_early == 1
    second.cancel()
    await asyncio.sleep(GRACE_S + 0.05)
    assert engine.stopped_early == 2


async def test_two_requests_for_the_same_place_share_one_request_to_the_engine() -> None:
    completer, engine = slow_completer()
    results = await asyncio.gather(
        completer.complete(snapshot_of("x = ")),
        completer.complete(snapshot_of("x = "), Trigger.INVOKED),
    )
    assert [result.suggestions[0].text for result in results] == ["total + 1"] * 2
    assert len(engine.requests) == 1


async def test_cancelling_one_of_two_waiters_does_not_stop_the_request() -> None:
    completer, engine = slow_completer()
    first, second = (asyncio.create_task(completer.complete(snapshot_of("x = "))) for _ in range(2))
    await wait_for_tokens(engine)
    first.cancel()
    assert (await second).suggestions
    assert engine.stopped_early == 0 or engine.tokens_written >= len("total + 1")


async def test_a_waiter_that_does_not_agree_leaves_the_request_to_the_others() -> None:
    completer, engine = slow_completer()
    first = asyncio.create_task(completer.complete(snapshot_of("x = ")))
    await wait_for_tokens(engine, 1)
    second = asyncio.create_task(completer.complete(snapshot_of("x = toast")))
    assert (await first).suggestions[0].text == "total + 1"
    await second
    assert len(engine.requests) == 2


@pytest.mark.parametrize(
    "other", [snapshot_of("x = ", "\nmore\n"), snapshot_of("y = "), snapshot_of("x ")]
)
async def test_requests_for_other_places_do_not_join(other: Snapshot) -> None:
    completer, engine = slow_completer()
    first = asyncio.create_task(completer.complete(snapshot_of("x = ")))
    await wait_for_tokens(engine)
    assert completer.needs_model(other)
    first.cancel()


async def test_an_error_reaches_all_waiters_and_the_next_request_starts_again() -> None:
    is_lost = True

    def script(_: object) -> str:
        if is_lost:
            raise EngineLostError("gone")
        return OUTPUT

    completer = Completer(ScriptedEngine(script), FimSettings())
    results = await asyncio.gather(
        *(completer.complete(snapshot_of("x = ")) for _ in range(3)), return_exceptions=True
    )
    assert [type(result) for result in results] == [EngineLostError] * 3
    is_lost = False
    assert (await completer.complete(snapshot_of("x = "))).suggestions


async def test_a_reset_stops_the_requests_to_the_old_model() -> None:
    completer, engine = slow_completer("y" + ascii_letters * 9)
    first = asyncio.create_task(completer.complete(snapshot_of("x = ")))
    await wait_for_tokens(engine)
    completer.reset()
    while len(engine.requests) < 2:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    assert engine.stopped_early == 1
    first.cancel()


async def test_a_result_does_not_depend_on_the_cache() -> None:
    engine = ScriptedEngine(lambda _: OUTPUT)
    completer = Completer(engine, FimSettings(prefetch=False, cache_seconds=0.0))
    result = await completer.complete(snapshot_of("x = "))
    assert result.suggestions[0].text == "total + 1"
    assert len(engine.requests) == 1


async def test_joining_can_be_disabled() -> None:
    engine = ScriptedEngine(lambda _: OUTPUT, 0.005)
    completer = Completer(engine, FimSettings(prefetch=False, join_in_flight=False))
    await asyncio.gather(*(completer.complete(snapshot_of("x = ")) for _ in range(2)))
    assert len(engine.requests) == 2


async def test_a_completer_is_idle_after_its_last_request() -> None:
    engine = ScriptedEngine(lambda _: OUTPUT, 0.005)
    completer = Completer(engine)
    await completer.idle()
    await completer.complete(snapshot_of("x = "))
    assert len(engine.requests) == 1
    await completer.idle()  # waits for the prefetch
    assert len(engine.requests) == 2
    assert not completer.needs_model(snapshot_of("x = total + 1\n", after="\n"))
