"""The engine in this process: one thread that loads the model and then decodes."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import queue
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from engine.api import (
    Chunk,
    EngineInfo,
    EngineMetrics,
    EngineState,
    GenerationRequest,
    Health,
    Priority,
    TokenLogprob,
)
from engine.errors import ModelError, StarcoderError
from engine.machine import configure_threads
from engine.scheduling.chunk_batching import Gathering
from engine.scheduling.job import DONE, Job
from engine.settings import EngineSettings
from engine.tokenizer import Tokenizer

log = logging.getLogger(__name__)


class LocalEngine:
    """Implements `engine.api.ScoringEngine` with a model held by this process.

    Requests are answered together, step by step (`engine.scheduling.scheduler`): who comes while
    others are
    answered waits for the end of a step, not of an answer.
    """

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._numbers = itertools.count()
        self._loaded: Future[Any] = Future()
        self._health = Health(EngineState.STARTING, pid=os.getpid())
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._metrics = EngineMetrics()

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

        def work(decoder: Any, cache: Any, give: Callable[[Chunk], None]) -> Any:
            reading = request.priority is Priority.CHAT
            return decoder.answer(request, cache, Gathering(give, at_once=reading))

        job = self._job(work, request.prompt, request.priority)
        job = replace(job, adapter=request.adapter, room=request.max_new_tokens)
        async for chunk in self._answers(job):
            yield chunk

    async def score(self, ids: tuple[int, ...], top: int) -> list[TokenLogprob | None]:
        """See `ScoringEngine.score`."""

        def work(decoder: Any, cache: Any, give: Callable[[Any], None]) -> Any:
            return decoder.scoring(ids, top, give)

        job = replace(self._job(work, ids, Priority.CHAT), reuses=False)
        async for scores in self._answers(job):
            result: list[TokenLogprob | None] = scores
        return result

    def metrics(self) -> EngineMetrics:
        """See `ScoringEngine.metrics`."""
        return self._metrics

    async def aclose(self) -> None:
        """Stop decoding and let go of the model."""
        self._closing.set()
        if self._thread is not None and not self._loaded.done():
            return  # loading cannot be interrupted; the thread is a daemon and ends with us
        if self._thread is not None:
            self._jobs.put(None)
            await asyncio.to_thread(self._thread.join)

    async def _ready(self) -> Any:
        self.start()
        # Shielded: one impatient caller must not cancel the loading for everybody.
        return await asyncio.shield(asyncio.wrap_future(self._loaded))

    def _job(self, work: Callable[..., Any], prompt: tuple[int, ...], priority: Priority) -> Job:
        return Job(work, prompt, priority, next(self._numbers), asyncio.get_running_loop())

    async def _answers(self, job: Job) -> AsyncGenerator[Any, None]:
        await self._ready()
        self._jobs.put(job)
        try:
            while (answer := await job.answers.get()) is not DONE:
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
        from engine.scheduling.scheduler import Scheduler

        Scheduler(loaded, self._jobs, self._closing, self._metrics).run()

    def _load(self) -> Any:
        # Imported here: torch takes seconds, and the server must answer `health` meanwhile.
        self._progress("importing torch", None)
        configure_threads()
        from engine.loading.load import load

        loaded = load(self._settings, self._progress)
        return replace(loaded, info=replace(loaded.info, pid=os.getpid()))

    def _progress(self, doing: str, share: float | None) -> None:
        self._health = Health(EngineState.LOADING, doing, share, os.getpid())


def _unexpected(error: Exception) -> ModelError:
    log.exception("loading failed")
    return ModelError(f"The model could not be loaded: {type(error).__name__}. See the log.")
