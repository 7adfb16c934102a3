"""Users of a server: typists, who replay a session; users who chat; and one who floods it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from benchmarks.load.bodies import Body, body_of, salted
from benchmarks.load.connection import Address, Connection, Reply
from benchmarks.load.outcomes import Fate, Kind, Outcome
from benchmarks.load.recording import Recording, salt
from engine.api import GenerationRequest, Priority

_PATH = "/v1/completions"
_HTTP_OK = 200
_CHAT_PROMPT, _CHAT_TOKENS, _CHAT_THINK_S = 300, 200, (5.0, 20.0)
"""Tokens of a question with its code, maximum tokens of an answer, and the bounds of the seconds
until the next question."""
_CHAT_MAX_PROMPT = 800
"""Prompt tokens after which a conversation starts again: the demo model has 1,024 positions."""
_FLOOD_PROMPT, _FLOOD_TOKENS = 400, 64
_TIMEOUT_S = {Kind.COMPLETION: 30.0, Kind.PREFETCH: 60.0, Kind.CHAT: 120.0, Kind.FLOOD: 120.0}
"""Seconds after which a request counts as unanswered."""


@dataclass(frozen=True)
class Replay:
    """A recording with all its bodies for one server."""

    recording: Recording
    model: str
    is_ours: bool
    sessions: tuple[tuple[Body, ...], ...]

    @classmethod
    def build(cls, recording: Recording, model: str, *, is_ours: bool) -> Replay:
        """Build all bodies."""
        size = len(salt(recording, 0))
        return cls(
            recording,
            model,
            is_ours,
            tuple(
                tuple(
                    body_of(each, recording, model, is_ours=is_ours, salt_size=size)
                    for each in session.requests
                )
                for session in recording.sessions
            ),
        )

    def new_salt(self, rng: random.Random) -> tuple[int, ...]:
        """Return tokens with which no other prompt is likely to begin."""
        return salt(self.recording, rng.randrange(len(self.recording.alphabet) ** 3))

    def new_text(self, rng: random.Random) -> tuple[int, ...]:
        """Return the tokens of a text that the server does not know yet."""
        return (*self.new_salt(rng), *rng.choice(self.recording.texts))

    def text_body(self, ids: Sequence[int], num_tokens: int, priority: Priority) -> bytes:
        """Return the body of a request with this prompt."""
        request = GenerationRequest(tuple(ids), num_tokens, priority=priority)
        return salted(request, None, self.model, is_ours=self.is_ours, salt_size=0).before


@dataclass
class Clock:
    """The end of a measurement, and how late the load generator itself is.

    Its own delay must not count as the server's.
    """

    end: float
    """Time after which no request is sent, in seconds of `time.perf_counter`."""
    delays: list[float] = field(default_factory=list)
    """Seconds between the time at which each request was due and that at which it was sent."""

    async def sleep_until(self, moment: float) -> bool:
        """Sleep until a time, and return whether the measurement still goes on then."""
        await asyncio.sleep(max(0.0, min(moment, self.end) - time.perf_counter()))
        if moment >= self.end:
            return False
        self.delays.append(time.perf_counter() - moment)
        return True


@dataclass
class User:
    """One user: sends requests, and records what becomes of them."""

    name: str
    address: Address
    token: str | None
    replay: Replay
    clock: Clock
    rng: random.Random
    outcomes: list[Outcome]
    _unused: list[Connection] = field(default_factory=list)
    """Open connections without a request."""

    async def type(self, number: int, first: int) -> None:
        """Replay a session again and again, as if it were always another file.

        It begins with the request with the number `first`, so that not all users do the same.
        Each request takes the place of the previous one, which is cancelled if it still runs.
        """
        task: asyncio.Task[Reply] | None = None
        for due, kind, body in self._requests(number, first):
            if not await self.clock.sleep_until(due):
                break
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
            task = asyncio.create_task(self.send(kind, body))
        if task is not None:
            await asyncio.wait([task])

    def _requests(self, number: int, first: int) -> Iterator[tuple[float, Kind, bytes]]:
        """Yield the requests of a session without end: when each is due, its kind and its body."""
        session = self.replay.recording.sessions[number]
        bodies = self.replay.sessions[number]
        start = time.perf_counter() - session.requests[first].seconds
        while True:
            tokens = self.replay.new_salt(self.rng)
            for recorded, body in zip(session.requests[first:], bodies[first:], strict=True):
                is_prefetch = recorded.request.priority is Priority.PREFETCH
                kind = Kind.PREFETCH if is_prefetch else Kind.COMPLETION
                yield start + recorded.seconds, kind, body.with_salt(tokens)
            first, start = 0, start + session.seconds

    async def chat(self) -> None:
        """Ask, read the answer, and ask again; a conversation keeps its beginning."""
        text, size = self.replay.new_text(self.rng), _CHAT_PROMPT
        while await self.clock.sleep_until(time.perf_counter() + self.rng.uniform(*_CHAT_THINK_S)):
            if size > min(len(text), _CHAT_MAX_PROMPT):
                text, size = self.replay.new_text(self.rng), _CHAT_PROMPT
            await self.send(
                Kind.CHAT, self.replay.text_body(text[:size], _CHAT_TOKENS, Priority.CHAT)
            )
            size += _CHAT_TOKENS + 50  # the answer and another question

    async def flood(self, num_open: int) -> None:
        """Keep many requests open, all for text that the server does not know."""
        await asyncio.gather(*(self._flood_one() for _ in range(num_open)))

    async def _flood_one(self) -> None:
        wait_s = self.rng.random()
        while await self.clock.sleep_until(time.perf_counter() + wait_s):
            ids = self.replay.new_text(self.rng)[:_FLOOD_PROMPT]
            body = self.replay.text_body(ids, _FLOOD_TOKENS, Priority.COMPLETION)
            reply = await self.send(Kind.FLOOD, body)
            wait_s = 0.0 if reply.status == _HTTP_OK else reply.retry_after_s

    async def send(self, kind: Kind, body: bytes) -> Reply:
        """Send a request and wait for its end. Cancelling this gives the request up."""
        connection = self._unused.pop() if self._unused else Connection(self.address, self.token)
        reply, started, fate = Reply(), time.perf_counter(), Fate.UNANSWERED
        try:
            async with asyncio.timeout(_TIMEOUT_S[kind]):
                await connection.post(_PATH, body, reply)
            if reply.status != _HTTP_OK:
                fate = Fate.REFUSED
            elif reply.is_complete:
                fate = Fate.ANSWERED
            self._unused.append(connection)
        except asyncio.CancelledError:
            fate = Fate.CANCELLED
            raise
        except (OSError, EOFError, ValueError):  # TimeoutError is an OSError
            pass
        finally:
            self.outcomes.append(
                Outcome(
                    user=self.name,
                    kind=kind,
                    fate=fate,
                    started=started,
                    seconds=time.perf_counter() - started,
                    first_s=reply.first_s,
                    status=reply.status,
                    prompt_tokens=reply.prompt_tokens,
                    reused_tokens=reply.reused_tokens,
                    output_tokens=reply.output_tokens,
                )
            )
        return reply

    def close(self) -> None:
        """Close the connections."""
        for connection in self._unused:
            connection.close()
