"""One number of users with one server, for some time."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass

import psutil

from benchmarks.load.outcomes import Outcome
from benchmarks.load.servers import Server
from benchmarks.load.users import Clock, Replay, User

_MEMORY_EVERY_S = 1.0
_CHATS_PER_TYPIST = 1 / 8
_WARM_UP = 0.2
"""Share of a measurement, up to `_MAX_WARM_UP_S`, in which the users start one after the other."""
_MAX_WARM_UP_S = 20.0
_IDLE_S = 1.0
"""Seconds in which the server notices the last cancellations."""
FLOODER = "flood"


@dataclass(frozen=True, slots=True)
class Load:
    """The users of one measurement."""

    typists: int
    seconds: float
    flood: int = 0
    """Number of requests that a further user keeps open; 0 is no such user."""

    @property
    def chats(self) -> int:
        """Number of users who chat, in addition to those who type."""
        return round(self.typists * _CHATS_PER_TYPIST)

    @property
    def users(self) -> int:
        """Number of all users, with one who may flood the server."""
        return self.typists + self.chats + 1

    @property
    def warm_up_s(self) -> float:
        """Seconds in which the users start. Times of this part do not count, but fates do."""
        return min(_MAX_WARM_UP_S, _WARM_UP * self.seconds)


@dataclass(frozen=True, slots=True)
class Measurement:
    """What was measured with one server and one number of users."""

    server: str
    load: Load
    outcomes: list[Outcome]
    started: float
    """Start, in seconds of `time.perf_counter`."""
    seconds: float
    """Seconds from the start to the last answer."""
    memory: list[tuple[float, float]]
    """Seconds since the start, and the server's memory in MiB."""
    server_s: float
    """Processor seconds of the server."""
    generator_s: float
    """Processor seconds of the load generator."""
    delays: list[float]
    """Seconds by which the load generator was late with each request."""
    metrics_before: str
    metrics_after: str

    def warm(self) -> list[Outcome]:
        """Return the outcomes of requests after the warm-up."""
        start = self.started + self.load.warm_up_s
        return [outcome for outcome in self.outcomes if outcome.started >= start]


async def measure(server: Server, replay: Replay, load: Load, seed: int = 0) -> Measurement:
    """Let users work with a server, and wait for the answers to their last requests."""
    await asyncio.sleep(_IDLE_S)
    metrics_before = await asyncio.to_thread(server.metrics)
    await asyncio.to_thread(server.find_processes)
    before = server.processor_seconds()
    generator, started = _own_seconds(), time.perf_counter()
    clock, outcomes = Clock(started + load.seconds), list[Outcome]()
    sampler = asyncio.create_task(_sample_memory(server))

    def user(name: str, number: int) -> User:
        rng = random.Random(f"{seed} {name}")
        token = server.token_of(number)
        return User(name, server.address, token, replay, clock, rng, outcomes)

    typists = [user(f"typist {number}", number) for number in range(load.typists)]
    chats = [user(f"chat {number}", load.typists + number) for number in range(load.chats)]
    flooder = user(FLOODER, load.typists + load.chats)
    work = [_type(each, number, load) for number, each in enumerate(typists)]
    work += [each.chat() for each in chats]
    if load.flood:
        work.append(flooder.flood(load.flood))
    await asyncio.gather(*work)
    seconds, generator_s = time.perf_counter() - started, _own_seconds() - generator
    server_s = server.processor_seconds() - before
    sampler.cancel()
    await asyncio.wait([sampler])
    for each in (*typists, *chats, flooder):
        each.close()
    await asyncio.sleep(_IDLE_S)
    memory = [(now - started, size) for now, size in server.memory if now >= started]
    return Measurement(
        server.name,
        load,
        outcomes,
        started,
        seconds,
        memory,
        server_s,
        generator_s,
        clock.delays,
        metrics_before,
        await asyncio.to_thread(server.metrics),
    )


async def _type(user: User, number: int, load: Load) -> None:
    await asyncio.sleep(user.rng.uniform(0, load.warm_up_s))
    number %= len(user.replay.sessions)
    await user.type(number, user.rng.randrange(len(user.replay.sessions[number])))


async def _sample_memory(server: Server) -> None:
    while True:
        await asyncio.to_thread(server.sample_memory)  # reading /proc may take long
        await asyncio.sleep(_MEMORY_EVERY_S)


def _own_seconds() -> float:
    times = psutil.Process().cpu_times()
    return float(times.user + times.system)
