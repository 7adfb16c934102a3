"""Sessions of simulated typists, recorded once with the whole completer and replayed often.

A typist types passages of real files, looks at suggestions and accepts the correct ones
(`fim.evaluation.typist`). The completer debounces, caches, joins and prefetches as in the language
server. What it asks of the engine is recorded with its time. So a replay needs no editor, no
tokenizer and no completer, and hundreds of users take little of the machine that they measure.
"""

from __future__ import annotations

import random
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import TypeAdapter

from benchmarks.simulated_editor import SimulatedEditor
from engine.api import (
    Chunk,
    Engine,
    EngineInfo,
    FinishReason,
    GenerationRequest,
    Health,
)
from engine.tokenizer import Tokenizer
from fim.completer import Completer
from fim.evaluation.counts import Passage
from fim.evaluation.typing_rhythm import MEDIAN_MS, random_rhythm
from fim.evaluation.typist import Typist

BURST_KEYS, LOOK_S = (10, 40), (1.0, 5.0)
"""Bounds of the keys that a typist types without a longer pause, and of the seconds of that pause.
So three in five seconds of a session are spent typing."""
_SALT = 3
"""Number of prompt tokens that differ between two users who replay the same session."""
_TEXT = 800
"""Tokens of each text for chats."""


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """A request of the completer to the engine."""

    seconds: float
    """Seconds since the start of the session."""
    request: GenerationRequest
    """The request. It asks for as many tokens as the completer read in the recording, so that a
    replay needs no truncation: some outputs are longer than what is shown."""
    salt_at: int | None
    """Index of the first prompt token that may be replaced; None if the prompt is too short."""


@dataclass(frozen=True, slots=True)
class Session:
    """The requests of a typist."""

    seconds: float
    """Length of the session."""
    keys: int
    """Number of keys that the typist pressed."""
    requests: tuple[RecordedRequest, ...]


@dataclass(frozen=True, slots=True)
class Recording:
    """Sessions, and what a replay needs to know of the model's tokenizer."""

    sessions: tuple[Session, ...]
    alphabet: tuple[int, ...]
    """Ids of ordinary tokens, with which prompts of different users are made different."""
    forced: dict[str, tuple[int, ...]]
    """The token ids of all forced prefixes, for servers that do not have this field."""
    texts: tuple[tuple[int, ...], ...]
    """The beginnings of real files, for the prompts of chats."""

    @property
    def requests_per_second(self) -> float:
        """Completion requests and prefetches of one typist per second."""
        seconds = sum(session.seconds for session in self.sessions)
        return sum(len(session.requests) for session in self.sessions) / seconds


@dataclass
class _RecordingEngine:
    """An engine that records the requests to another one."""

    inner: Engine
    editor: SimulatedEditor | None = None
    started: float = field(default_factory=time.perf_counter)
    recorded: list[tuple[float, GenerationRequest, int]] = field(default_factory=list)
    """Time of each request, the request, and the number of tokens that the caller needed."""

    @property
    def now(self) -> float:
        """Seconds since the start on the editor's clock, which skips pauses."""
        skipped = 0.0 if self.editor is None else self.editor.skipped_s
        return time.perf_counter() - self.started + skipped

    async def health(self) -> Health:
        return await self.inner.health()

    async def info(self) -> EngineInfo:
        return await self.inner.info()

    async def tokenizer(self, adapter: str | None = None) -> Tokenizer:
        return await self.inner.tokenizer(adapter)

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        index, num_tokens = len(self.recorded), 0
        now = self.now
        self.recorded.append((now, request, request.max_new_tokens))
        async with aclosing(self.inner.stream(request)) as chunks:
            async for chunk in chunks:
                # One more than were returned, if the model also computed what ended the output.
                num_tokens += len(chunk.ids) + (chunk.finish is FinishReason.STOP)
                needed = min(request.max_new_tokens, max(1, num_tokens))
                self.recorded[index] = (now, request, needed)
                yield chunk

    async def aclose(self) -> None:
        await self.inner.aclose()


async def record(engine: Engine, passages: Sequence[Passage], per_session: int) -> Recording:
    """Let a typist type all passages, `per_session` of them in each session."""
    tokenizer = await engine.tokenizer()
    special = frozenset(tokenizer.special_tokens.values())
    sessions = []
    for start in range(0, len(passages), per_session):
        part = passages[start : start + per_session]
        sessions.append(await _session(engine, part, special, seed=start))
    requests = [each.request for session in sessions for each in session.requests]
    used = sorted({id_ for request in requests for id_ in request.prompt} - special)
    forced = {request.forced_prefix for request in requests} - {""}
    return Recording(
        tuple(sessions),
        tuple(used[:: max(1, len(used) // 64)]),
        {text: tuple(tokenizer.encode(text)) for text in sorted(forced)},
        tuple(tuple(tokenizer.encode(each.file.text)[:_TEXT]) for each in passages),
    )


async def _session(
    engine: Engine, passages: Sequence[Passage], special: frozenset[int], seed: int
) -> Session:
    recorder = _RecordingEngine(engine)
    editor = recorder.editor = SimulatedEditor(Completer(recorder))
    rhythm, keys = pauses(seed), 0
    for passage in passages:
        uri = f"file:///recorded/{seed}/{passage.file.path}"
        editor.open(passage.initial_text, passage.start, uri, passage.file.language)
        keys += (await Typist(editor, passage, rhythm).type()).keys
    requests = tuple(
        RecordedRequest(
            seconds, replace(request, max_new_tokens=needed), _salt_at(request.prompt, special)
        )
        for seconds, request, needed in recorder.recorded
    )
    return Session(recorder.now, keys, requests)


def pauses(seed: int) -> Iterator[float]:
    """Yield the pauses of a typist after each key, in seconds: typing, and looking now and then."""
    rng, keys = random.Random(seed), random_rhythm(MEDIAN_MS, seed)
    while True:
        for _ in range(rng.randint(*BURST_KEYS) - 1):
            yield next(keys)
        yield rng.uniform(*LOOK_S)


def _salt_at(prompt: Sequence[int], special: frozenset[int]) -> int | None:
    """Return where the first few tokens of text are, which may be replaced."""
    starts = range(len(prompt) - _SALT + 1)
    return next((i for i in starts if special.isdisjoint(prompt[i : i + _SALT])), None)


def salt(recording: Recording, number: int) -> tuple[int, ...]:
    """Return the tokens with which prompts of this number begin; few numbers share them."""
    base = len(recording.alphabet)
    return tuple(recording.alphabet[number // base**i % base] for i in range(_SALT))


def save(recording: Recording, file: Path) -> None:
    """Write a recording as JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(_JSON.dump_json(recording))


def load(file: Path) -> Recording:
    """Read a recording that `save` wrote."""
    return _JSON.validate_json(file.read_bytes())


_JSON = TypeAdapter(Recording)
