"""The engine in this process: one thread that loads the model and then decodes."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import logging
import os
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from engine.api import (
    Chunk,
    EngineInfo,
    EngineMetrics,
    EngineState,
    GenerationRequest,
    Health,
    Progress,
    TokenLogprob,
)
from engine.errors import EngineElsewhereError, ModelError, StarcoderError
from engine.machine import configure_threads
from engine.scheduling.job import EndOfStream, Job, JobEvent, Scores, ScoringRequest
from engine.settings import EngineSettings
from engine.tokenizer import Tokenizer

if TYPE_CHECKING:
    from engine.loading.adapter_shelf import AdapterShelf
    from engine.loading.sharing import Sharing
    from engine.network.model import LoadedModel
    from engine.scheduling.scheduler import Scheduler

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Ready:
    """The objects that exist once the model is loaded."""

    model: LoadedModel
    adapters: AdapterShelf
    scheduler: Scheduler


class LocalEngine:
    """Implements `engine.api.ScoringEngine` with a model in this process.

    Requests run together, step by step (`engine.scheduling.scheduler`). A new request waits for the
    end of a step, not for the end of other requests.
    """

    def __init__(self, settings: EngineSettings, sharing: Sharing | None = None) -> None:
        """`sharing` knows the models of other engine processes, if this is one of several."""
        self._settings, self._sharing = settings, sharing
        self._numbers = itertools.count()
        self._ready: Future[_Ready] = Future()
        self._health = Health(EngineState.STARTING, pid=os.getpid())
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._metrics = EngineMetrics()

    def start(self) -> None:
        """Start loading in the background; further calls do nothing."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
            self._thread.start()

    async def health(self) -> Health:
        """See `Engine.health`."""
        return self._health

    async def info(self) -> EngineInfo:
        """See `Engine.info`."""
        ready = await self._wait_ready()
        names = await asyncio.to_thread(ready.adapters.names)
        return replace(ready.model.info, adapters=names)

    async def tokenizer(self, adapter: str | None = None) -> Tokenizer:
        """See `Engine.tokenizer`."""
        ready = await self._wait_ready()
        if adapter is None:
            return ready.model.tokenizer
        adapter_tokenizer = await asyncio.to_thread(ready.adapters.tokenizer, adapter)
        return adapter_tokenizer or ready.model.tokenizer

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """See `Engine.stream`."""
        async for event in self._events(request):
            if isinstance(event, Chunk):
                yield event

    async def score(
        self, ids: tuple[int, ...], top: int, *, user: str = "", progress: Progress | None = None
    ) -> list[TokenLogprob | None]:
        """See `ScoringEngine.score`."""
        logprobs: list[TokenLogprob | None] = []
        async for event in self._events(ScoringRequest(ids, top, user, progress)):
            if isinstance(event, Scores):
                logprobs = list(event.logprobs)
        return logprobs

    def metrics(self) -> EngineMetrics:
        """See `ScoringEngine.metrics`."""
        return self._metrics

    async def model(self) -> LoadedModel:
        """Wait until the model is loaded and return it. Its state belongs to the engine's
        thread."""
        return (await self._wait_ready()).model

    @property
    def is_elsewhere(self) -> bool:
        """Whether another process has the model, so that this one must exit."""
        return self._ready.done() and isinstance(self._ready.exception(), EngineElsewhereError)

    async def aclose(self) -> None:
        """Stop decoding and release the model."""
        self._closing.set()
        if self._thread is None or not self._ready.done():
            return  # loading cannot be interrupted; the daemon thread ends with the process
        if self._ready.exception() is None:
            self._ready.result().scheduler.wake()
        await asyncio.to_thread(self._thread.join)

    async def _wait_ready(self) -> _Ready:
        self.start()
        # Shielded: one cancelled caller must not cancel the loading for all.
        return await asyncio.shield(asyncio.wrap_future(self._ready))

    async def _events(
        self, request: GenerationRequest | ScoringRequest
    ) -> AsyncGenerator[Chunk | Scores, None]:
        """Submit a job and yield its results. Raises the job's exception."""
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[JobEvent] = asyncio.Queue()
        cancelled = threading.Event()

        def emit(event: JobEvent) -> None:
            try:
                loop.call_soon_threadsafe(events.put_nowait, event)
            except RuntimeError:  # the caller's event loop is closed
                cancelled.set()

        job = Job(request, emit, next(self._numbers), cancelled=cancelled)
        scheduler = (await self._wait_ready()).scheduler
        scheduler.submit(job)
        try:
            while not isinstance(event := await events.get(), EndOfStream):
                if isinstance(event, Exception):
                    raise event
                yield event
        finally:
            cancelled.set()

    # The methods below run in the engine's thread.

    def _run(self) -> None:
        try:
            ready = self._load()
        except EngineElsewhereError as error:
            self._ready.set_exception(error)  # the process exits, and the client finds the other
            return
        except Exception as error:
            user_error = error if isinstance(error, StarcoderError) else _unexpected(error)
            self._health = Health(EngineState.FAILED, user_error.user_message, pid=os.getpid())
            self._ready.set_exception(user_error)
            return
        self._health = Health(EngineState.READY, ready.model.info.model, 1.0, os.getpid())
        self._ready.set_result(ready)
        ready.scheduler.run(self._closing)

    def _load(self) -> _Ready:
        # Imported here: importing torch takes seconds, and the server must answer `health`.
        self._report_progress("importing torch", None)
        configure_threads()
        from engine.decoding.generation import DecodingContext
        from engine.loading.load import load
        from engine.scheduling.scheduler import Scheduler

        loaded = load(self._settings, self._report_progress, self._sharing)
        info = replace(
            loaded.model.info,
            pid=os.getpid(),
            fingerprint=_fingerprint(loaded.model.info, loaded.model.tokenizer),
        )
        model = replace(loaded.model, info=info)
        context = DecodingContext.of(model, loaded.draft_model)
        scheduler = Scheduler(
            context,
            loaded.adapters.get,
            self._metrics,
            max_windows=self._settings.kv_caches,
        )
        return _Ready(model, loaded.adapters, scheduler)

    def _report_progress(self, activity: str, share: float | None) -> None:
        self._health = Health(EngineState.LOADING, activity, share, os.getpid())


def _fingerprint(info: EngineInfo, tokenizer: Tokenizer) -> str:
    """See `EngineInfo.fingerprint`: replicas of a model on other machines have the same one."""
    facts = (info.context_window, info.fim_form, info.chat_template, tokenizer.to_json())
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def _unexpected(error: Exception) -> ModelError:
    log.error("loading failed", exc_info=error)
    return ModelError("The model could not be loaded; the engine's log has the details.")
