"""Simulated users of real servers: what they count is what the servers did."""

import asyncio
import contextlib
import json
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from benchmarks.load import users
from benchmarks.load.bodies import body_of
from benchmarks.load.connection import Address
from benchmarks.load.outcomes import Fate, Kind, Outcome
from benchmarks.load.recording import RecordedRequest, Recording, Session
from benchmarks.load.run import FLOODER, Load, measure
from benchmarks.load.servers import Server
from benchmarks.load.users import Clock, Replay, User
from engine.api import GenerationRequest, Priority
from engine.scripted import ScriptedEngine
from tests.engine.server.serving import serving

MODEL = "starcoder-1b"
TEXT = tuple(range(10, 90))
Handler = Callable[[int, asyncio.StreamWriter], Awaitable[None]]


def recorded(seconds: float, priority: Priority = Priority.COMPLETION) -> RecordedRequest:
    request = GenerationRequest(TEXT, 4, priority=priority, logprobs=0, forced_prefix="ab")
    return RecordedRequest(seconds, request, 1)


def recording(*times: float, length: float = 100.0) -> Recording:
    session = Session(length, len(times), tuple(map(recorded, times)))
    return Recording((session,), tuple(range(10, 74)), {"ab": (50, 51)}, (TEXT * 10,))


async def type_session(
    address: Address, typed: Recording, seconds: float, token: str | None = None
) -> list[Outcome]:
    """Let a user type a session from its beginning, and return what became of the requests."""
    replay = Replay.build(typed, "scripted", is_ours=True)
    clock = Clock(time.perf_counter() + seconds)
    user = User("a", address, token, replay, clock, random.Random(0), [])
    await user.type(0, 0)
    user.close()
    return user.outcomes


def address_of(url: str) -> Address:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return Address(parts.hostname, parts.port)


@asynccontextmanager
async def faulty_server(handle: Handler) -> AsyncIterator[Address]:
    """A server that reads whole requests, and lets `handle` answer the one of each number."""
    numbers, writers = iter(range(1000)), list[asyncio.StreamWriter]()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                size = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                json.loads(await reader.readexactly(size))
                await handle(next(numbers), writer)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        yield Address(host, port)
        for writer in writers:
            writer.transport.abort()
    await asyncio.sleep(0)


def answer(events: str, status: str = "200 OK", headers: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(events)}\r\n\r\n"
    return (head + events).encode()


COMPLETE = answer('data: {"choices": [{"text": "a"}]}\n\ndata: [DONE]\n\n')


async def test_a_known_schedule_gives_known_times() -> None:
    engine = ScriptedEngine(lambda _: "cdef", seconds_per_token=0.05)
    async with serving(engine) as endpoint:
        outcomes = await type_session(address_of(endpoint.url), recording(0.0, 0.6, 1.2), 1.8)
    assert [each.fate for each in outcomes] == [Fate.ANSWERED] * 3
    for each in outcomes:  # four tokens
        assert 0.2 <= each.seconds < 0.55
        assert each.first_s is not None
        assert 0.05 <= each.first_s < each.seconds - 0.05
        assert (each.prompt_tokens, each.output_tokens) == (len(TEXT), 4)
    starts = [each.started - outcomes[0].started for each in outcomes]
    assert starts == pytest.approx([0, 0.6, 1.2], abs=0.1)


async def test_the_next_request_cancels_the_previous_one_in_the_engine() -> None:
    engine = ScriptedEngine(lambda _: "cdef", seconds_per_token=0.3)
    async with serving(engine) as endpoint:
        outcomes = await type_session(address_of(endpoint.url), recording(0.0, 0.4), 1)
        assert engine.stopped_early == 1
    assert [each.fate for each in outcomes] == [Fate.CANCELLED, Fate.ANSWERED]
    assert outcomes[0].seconds == pytest.approx(0.4, abs=0.15)


async def test_the_next_session_takes_the_place_of_the_last_request() -> None:
    """A typist opens the next file without waiting for the end of a request."""
    engine = ScriptedEngine(lambda _: "cdef", seconds_per_token=0.2)
    async with serving(engine) as endpoint:
        typed = recording(0.0, 0.3, length=0.5)
        outcomes = await type_session(address_of(endpoint.url), typed, 0.7)
        assert engine.stopped_early == 2
    assert [each.fate for each in outcomes] == [Fate.CANCELLED, Fate.CANCELLED, Fate.ANSWERED]
    starts = [each.started - outcomes[0].started for each in outcomes]
    assert starts == pytest.approx([0, 0.3, 0.5], abs=0.1)
    first, second, third = (request.prompt for request in engine.requests)
    assert first == second != third


async def test_users_with_one_session_share_no_prompt() -> None:
    engine = ScriptedEngine(lambda _: "cd")
    async with serving(engine) as endpoint:
        for _ in range(2):
            replay = Replay.build(recording(0.0, 0.1), "scripted", is_ours=True)
            clock = Clock(time.perf_counter() + 0.5)
            user = User("a", address_of(endpoint.url), None, replay, clock, random.Random(_), [])
            await user.type(0, 0)
            user.close()
    prompts = [request.prompt for request in engine.requests]
    assert {len(prompt) for prompt in prompts} == {len(TEXT)}
    assert prompts[0] == prompts[1]  # so a user's own prompts share their beginning
    assert prompts[2] == prompts[3]
    assert prompts[0][1:4] != prompts[2][1:4]
    assert prompts[0][4:] == prompts[2][4:] == TEXT[4:]
    assert {request.forced_prefix for request in engine.requests} == {"ab"}


async def test_what_a_faulty_server_does_is_noticed() -> None:
    async def handle(number: int, writer: asyncio.StreamWriter) -> None:
        if number == 0:
            writer.write(COMPLETE)
        elif number in (1, 2):  # a client asks again on a new connection, but only once
            writer.close()
        elif number == 3:  # the stream ends in the middle
            writer.write(answer('data: {"choices": [{"text": "a"}]}\n\n'))
        elif number == 4:
            writer.write(answer("{}", "503 Service Unavailable", "Retry-After: 7\r\n"))
        elif number == 5:
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\ndata:\r\n")
            writer.close()
        # It never answers the last one.

    typed = recording(*(0.2 * number for number in range(6)))
    async with faulty_server(handle) as address:
        outcomes = await type_session(address, typed, 1.5)
    assert [each.fate for each in outcomes] == [
        Fate.ANSWERED,
        Fate.UNANSWERED,
        Fate.UNANSWERED,
        Fate.REFUSED,
        Fate.UNANSWERED,
        Fate.UNANSWERED,
    ]
    assert outcomes[3].status == 503


async def test_a_request_that_is_never_answered_counts_as_unanswered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def hang(_: int, __: asyncio.StreamWriter) -> None:
        pass

    monkeypatch.setitem(users._TIMEOUT_S, Kind.COMPLETION, 0.3)
    async with faulty_server(hang) as address:
        (outcome,) = await type_session(address, recording(0.0), 1)
    assert outcome.fate is Fate.UNANSWERED
    assert outcome.seconds == pytest.approx(0.3, abs=0.15)


async def test_no_server_at_all_is_no_answer() -> None:
    async with faulty_server(lambda *_: asyncio.sleep(0)) as address:
        pass
    (outcome,) = await type_session(address, recording(0.0), 1)
    assert outcome.fate is Fate.UNANSWERED


async def test_a_whole_measurement_of_typists_chats_and_a_flood() -> None:
    engine = ScriptedEngine(lambda _: "cd" * 20, seconds_per_token=0.001)
    times = [0.1 * number for number in range(200)]
    async with serving(engine, token="secret") as endpoint:
        server = Server("serve", endpoint.url, "scripted", is_ours=True, tokens=("secret",))
        replay = Replay.build(recording(*times, length=20.0), "scripted", is_ours=True)
        measured = await measure(server, replay, Load(typists=8, seconds=3.0, flood=5))
    by_kind = {kind: [each for each in measured.outcomes if each.kind is kind] for kind in Kind}
    assert {each.fate for each in measured.outcomes} <= {Fate.ANSWERED, Fate.CANCELLED}
    assert 8 * 10 < len(by_kind[Kind.COMPLETION]) < 8 * 31
    assert {each.user for each in by_kind[Kind.FLOOD]} == {FLOODER}
    assert len(by_kind[Kind.FLOOD]) > 5
    answered = [each for each in measured.outcomes if each.fate is Fate.ANSWERED]
    # A request may be cancelled before it reaches the engine.
    assert len(answered) <= len(engine.requests) <= len(measured.outcomes)
    assert measured.seconds >= 3.0
    assert measured.generator_s > 0
    assert len(measured.delays) >= len(by_kind[Kind.COMPLETION])
    assert all(each.started >= measured.started + 0.6 for each in measured.warm())
    assert "starcoder_" in measured.metrics_after


async def test_without_the_key_all_requests_are_refused() -> None:
    async with serving(ScriptedEngine(lambda _: "cd"), token="secret") as endpoint:
        (outcome,) = await type_session(address_of(endpoint.url), recording(0.0), 1, "wrong")
    assert (outcome.fate, outcome.status) == (Fate.REFUSED, 401)


def bodies(*, is_ours: bool, salt_at: int | None = 1) -> dict[str, Any]:
    typed = recording(0.0)
    request = RecordedRequest(0.0, typed.sessions[0].requests[0].request, salt_at)
    body = body_of(request, typed, MODEL, is_ours=is_ours, salt_size=3)
    parsed: dict[str, Any] = json.loads(body.with_salt((7, 8, 9)))
    return parsed


def test_our_server_gets_the_forced_prefix_and_another_one_a_longer_prompt() -> None:
    ours, other = bodies(is_ours=True), bodies(is_ours=False)
    salted: Sequence[int] = [TEXT[0], 7, 8, 9, *TEXT[4:]]
    assert (ours["prompt"], ours["forced_prefix"], ours["max_tokens"]) == (salted, "ab", 4)
    assert (other["prompt"], other["max_tokens"]) == ([*salted, 50, 51], 2)
    assert "forced_prefix" not in other
    assert ours["model"] == MODEL


def test_a_prompt_without_room_for_other_tokens_stays_as_it_is() -> None:
    assert bodies(is_ours=True, salt_at=None)["prompt"] == list(TEXT)
