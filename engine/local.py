"""The engine in this process: one thread that loads the model and then decodes."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import queue
import threading
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from engine.api import (
    Chunk,
    EngineInfo,
    EngineState,
    GenerationRequest,
    Health,
    Priority,
    TokenLogprob,
)
from engine.errors import ModelError, OutOfMemoryError, StarcoderError
from engine.settings import EngineSettings
from engine.threads import be_considerate
from engine.tokenizer import Tokenizer

log = logging.getLogger(__name__)


@dataclass(order=True)
class _Job:
    """Something to compute for a caller on an event loop."""

    priority: int
    number: int
    steps: Callable[..., Iterator[Any]] = field(compare=False)
    """Called with (decoder, cache, cancelled): yields what the caller gets."""
    loop: asyncio.AbstractEventLoop = field(compare=False)
    adapter: str | None = field(compare=False, default=None)
    answers: asyncio.Queue[Any] = field(compare=False, default_factory=asyncio.Queue)
    cancelled: threading.Event = field(compare=False, default_factory=threading.Event)

    def give(self, answer: Any) -> None:
        """Hand over an answer; a caller whose loop is closed wants none."""
        try:
            self.loop.call_soon_threadsafe(self.answers.put_nowait, answer)
        except RuntimeError:
            self.cancelled.set()


_DONE = object()

_MOST_CACHES = 4
"""KV caches kept: one for each priority and adapter, the longest unused goes first."""


class LocalEngine:
    """Implements `engine.api.ScoringEngine` with a model held by this process.

    A completion does not wait for a chat to end: between two tokens of a chat, waiting
    completions are answered first. Each priority has a KV cache of its own, so neither spoils the
    other's prefix; so has each adapter.
    """

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._jobs: queue.PriorityQueue[_Job] = queue.PriorityQueue()
        self._numbers = itertools.count()
        self._loaded: Future[Any] = Future()
        self._health = Health(EngineState.STARTING, pid=os.getpid())
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()

    def start(self) -> None:
        """Begin to load, in the background; a second call does nothing."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
            self._thread.start()

    async def health(self) -> Health:
        """See `Engine.health`."""
        return self._health

    async def info(self) -> EngineInfo:
        """See `Engine.info`."""
        loaded = await self._ready()
        info: EngineInfo = loaded.info
        return replace(info, adapters=await asyncio.to_thread(loaded.adapters.names))

    async def tokenizer(self, adapter: str | None = None) -> Tokenizer:
        """See `Engine.tokenizer`."""
        loaded = await self._ready()
        own: Tokenizer = loaded.decoder.tokenizer
        if adapter is None:
            return own
        found: Tokenizer | None = await asyncio.to_thread(loaded.adapters.tokenizer, adapter)
        return found or own

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """See `Engine.stream`."""

        def steps(decoder: Any, cache: Any, cancelled: Callable[[], bool]) -> Iterator[Chunk]:
            chunks: Iterator[Chunk] = decoder.generate(request, cache, cancelled)
            return chunks

        async for chunk in self._answers(steps, request.priority, request.adapter):
            yield chunk

    async def score(self, ids: tuple[int, ...], top: int) -> list[TokenLogprob | None]:
        """See `ScoringEngine.score`."""

        def steps(decoder: Any, cache: Any, cancelled: Callable[[], bool]) -> Iterator[Any]:
            yield decoder.score(ids, top, cache, cancelled)

        async for scores in self._answers(steps, Priority.CHAT):
            result: list[TokenLogprob | None] = scores
        return result

    async def aclose(self) -> None:
        """Stop decoding and let go of the model."""
        self._closing.set()
        if self._thread is not None and not self._loaded.done():
            return  # loading cannot be interrupted; the thread is a daemon and ends with us
        if self._thread is not None:
            self._jobs.put(_Job(-1, 0, lambda *_: iter(()), asyncio.get_running_loop()))
            await asyncio.to_thread(self._thread.join)

    async def _ready(self) -> Any:
        self.start()
        # Shielded: one impatient caller must not cancel the loading for everybody.
        return await asyncio.shield(asyncio.wrap_future(self._loaded))

    async def _answers(
        self,
        steps: Callable[..., Iterator[Any]],
        priority: Priority,
        adapter: str | None = None,
    ) -> AsyncGenerator[Any, None]:
        await self._ready()
        job = _Job(priority, next(self._numbers), steps, asyncio.get_running_loop(), adapter)
        self._jobs.put(job)
        try:
            while (answer := await job.answers.get()) is not _DONE:
                if isinstance(answer, Exception):
                    raise answer
                yield answer
        finally:
            job.cancelled.set()

    # Below runs in the engine's thread.

    def _run(self) -> None:
        try:
            loaded = self._load()
        except Exception as error:
            known = error if isinstance(error, StarcoderError) else _unexpected(error)
            self._health = Health(EngineState.FAILED, known.user_message, pid=os.getpid())
            self._loaded.set_exception(known)
            return
        self._health = Health(EngineState.READY, loaded.info.model, 1.0, os.getpid())
        self._loaded.set_result(loaded)
        _Worker(loaded, self._jobs, self._closing).run()

    def _load(self) -> Any:
        # Imported here: torch takes seconds, and the server must answer `health` meanwhile.
        self._progress("importing torch", None)
        be_considerate()
        from engine.loading import load

        loaded = load(self._settings, self._progress)
        return replace(loaded, info=replace(loaded.info, pid=os.getpid()))

    def _progress(self, doing: str, share: float | None) -> None:
        self._health = Health(EngineState.LOADING, doing, share, os.getpid())


def _unexpected(error: Exception) -> ModelError:
    log.exception("loading failed")
    return ModelError(f"The model could not be loaded: {type(error).__name__}. See the log.")


class _Worker:
    """Takes jobs in order of priority and computes them."""

    def __init__(
        self, loaded: Any, jobs: queue.PriorityQueue[_Job], closing: threading.Event
    ) -> None:
        from engine.kv_cache import KVCache

        self._decoder, self._jobs, self._closing = loaded.decoder, jobs, closing
        self._adapters = loaded.adapters
        self._new_cache = partial(KVCache, loaded.cache_shape)
        self._caches: OrderedDict[tuple[int, str | None], Any] = OrderedDict()

    def run(self) -> None:
        while not self._closing.is_set():
            self._compute(self._jobs.get())

    def _compute(self, job: _Job) -> None:
        import torch

        from engine.decoding import Cancelled

        try:
            if not job.cancelled.is_set() and not self._closing.is_set():
                cache = self._cache(job.priority, job.adapter)
                for answer in job.steps(self._decoder, cache, job.cancelled.is_set):
                    job.give(answer)
                    self._let_pass(job)
        except Cancelled:
            pass
        except StarcoderError as error:
            job.give(error)
        except torch.OutOfMemoryError:
            self._caches.clear()
            torch.cuda.empty_cache()
            job.give(OutOfMemoryError(
                "The GPU ran out of memory while decoding. Set contextWindow lower, or choose a "
                "smaller model."
            ))  # fmt: skip
        except Exception as error:
            log.exception("decoding failed")
            job.give(StarcoderError(f"The engine failed: {type(error).__name__}. See its log."))
        finally:
            job.give(_DONE)

    def _cache(self, priority: int, name: str | None) -> Any:
        """Return the cache of a priority and adapter; its rows are good for no other."""
        adapter = None if name is None else self._adapters.get(name)
        cache = self._caches.get((priority, name))
        if cache is None or cache.adapter is not adapter:
            cache = self._caches[priority, name] = self._new_cache(adapter=adapter)
        self._caches.move_to_end((priority, name))
        while len(self._caches) > _MOST_CACHES:
            self._caches.popitem(last=False)
        return cache

    def _let_pass(self, job: _Job) -> None:
        """Answer what is more urgent than `job` before going on with it."""
        while True:
            try:
                urgent = self._jobs.get_nowait()
            except queue.Empty:
                return
            if urgent.priority >= job.priority:
                self._jobs.put(urgent)
                return
            self._compute(urgent)
