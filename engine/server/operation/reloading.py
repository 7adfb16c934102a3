"""Loads the model again while requests run: new weights in its folder, or a new revision."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import fields, replace
from typing import Literal, cast

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
from engine.errors import ConfigurationError, StarcoderError
from engine.loading.locate import locate, read_config
from engine.loading.model_tokenizer import read_tokenizer
from engine.local import LocalEngine
from engine.server.operation.model_lease import Lease, ServedModel
from engine.settings import AUTO_MODEL, Dtype, EngineSettings
from engine.tokenizer import Tokenizer

log = logging.getLogger(__name__)

Reload = Literal["keep", "unload"]
"""What happens to the old model while the new one loads.

- `keep`: it answers requests until the new model is ready. Both are in memory for a while.
- `unload`: it is unloaded first, and new requests wait.
"""

_GAUGES = ("cache_bytes", "caches_in_use", "requests_running", "requests_waiting")
"""Metrics that describe the present. The others are counters, which never fall."""


class ReloadingEngine:
    """Implements `engine.api.ScoringEngine` with a model that can be exchanged.

    Requests have one model each if `engine.server.operation.model_lease` is around them.
    """

    def __init__(self, settings: EngineSettings, mode: Reload = "keep") -> None:
        self._settings, self._mode = settings, mode
        self._current = ServedModel(LocalEngine(settings))
        self._retired: set[asyncio.Task[None]] = set()
        self._past = EngineMetrics()
        """Counters of the models that have been unloaded, and of reloads."""
        self._draining: list[ServedModel] = []
        self._is_open = asyncio.Event()
        self._is_open.set()
        self._lock = asyncio.Lock()
        self._lease: ContextVar[Lease | None] = ContextVar("lease", default=None)

    def start(self) -> None:
        """Start loading in the background; further calls do nothing."""
        self._current.engine.start()

    async def health(self) -> Health:
        """See `Engine.health`."""
        return await self._current.engine.health()

    async def info(self) -> EngineInfo:
        """See `Engine.info`."""
        return await (await self._served()).info()

    async def tokenizer(self, adapter: str | None = None) -> Tokenizer:
        """See `Engine.tokenizer`."""
        return await (await self._served()).engine.tokenizer(adapter)

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """See `Engine.stream`."""
        async with aclosing((await self._served()).engine.stream(request)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def score(
        self, ids: tuple[int, ...], top: int, *, user: str = "", progress: Progress | None = None
    ) -> list[TokenLogprob | None]:
        """See `ScoringEngine.score`."""
        engine = (await self._served()).engine
        return await engine.score(ids, top, user=user, progress=progress)

    def metrics(self) -> EngineMetrics:
        """Return the counters of all models since the start, and the sizes of the present ones."""
        total = replace(self._past)
        for served in [*self._draining, self._current]:
            _add(total, served.engine.metrics())
        return total

    async def aclose(self) -> None:
        """Stop decoding and release the models."""
        for served in [*self._draining, self._current]:
            await served.engine.aclose()

    async def _served(self) -> ServedModel:
        """Return the model of this request. Waits while there is none."""
        lease = self._lease.get()
        if lease is not None and lease.served is not None:
            return lease.served
        await self._is_open.wait()
        if lease is not None:
            lease.served = self._current
            lease.served.take()
        return self._current

    # Loading again.

    async def reload(self) -> bool:
        """Load the model again, and return whether the new one answers from now on.

        If it cannot be loaded, the old one stays, and the log says why. Only with `unload` the new
        one may fail when the old one is gone; `health` is then `failed`.
        """
        async with self._lock:
            log.info("loading the model again")
            try:
                await (self._switch() if self._mode == "keep" else self._exchange())
            except StarcoderError as error:
                self._past.failed_reloads += 1
                health = await self._current.engine.health()
                stays = " The old one stays." if health.state is EngineState.READY else ""
                log.error("the model was not loaded again: %s%s", error.user_message, stays)
                return False
            self._past.reloads += 1
            log.info("the new model is ready")
            return True

    async def _switch(self) -> None:
        """Load the new model next to the old one, which ends with its last request."""
        old = self._current
        new = ServedModel(LocalEngine(_settings_next_to(self._settings, await old.engine.info())))
        try:
            await new.info()
        except BaseException:
            await new.engine.aclose()
            raise
        self._current = new
        self._draining.append(old)
        task = asyncio.create_task(self._unload(old))
        self._retired.add(task)
        task.add_done_callback(self._retired.discard)

    async def _exchange(self) -> None:
        """Unload the old model, then load the new one; requests wait meanwhile."""
        await asyncio.to_thread(_check_files, self._settings)
        self._is_open.clear()
        try:
            old = self._current
            await old.unused.wait()
            new = self._current = ServedModel(LocalEngine(self._settings))
            self._draining.append(old)
            await self._unload(old)
            del old
            gc.collect()  # a model has reference cycles
            new.engine.start()
            await new.info()
        finally:
            self._is_open.set()

    async def _unload(self, served: ServedModel) -> None:
        """Release a model as soon as no request uses it."""
        await served.unused.wait()
        await served.engine.aclose()
        self._draining.remove(served)
        counters = replace(served.engine.metrics(), **dict.fromkeys(_GAUGES, 0))
        _add(self._past, counters)

    def lease(self) -> Lease:
        """Give the current task, and those that it starts, one model until `end` is called."""
        lease = Lease()
        self._lease.set(lease)
        return lease


def _settings_next_to(settings: EngineSettings, old: EngineInfo) -> EngineSettings:
    """Return the settings for a model that loads while the old one is in memory.

    `auto` must not choose a smaller number format only because the old model takes memory.
    """
    if settings.model == AUTO_MODEL:
        raise ConfigurationError(
            "With --model auto the new model would be chosen by the memory that the old one "
            "leaves. Start the server with the name of a model, or with --reload unload."
        )
    dtype = cast(Dtype, old.dtype) if settings.dtype == "auto" else settings.dtype
    return replace(settings, dtype=dtype)


def _check_files(settings: EngineSettings) -> None:
    """Raise the error of a model whose files are missing or unreadable, before unloading."""
    name, path = locate(settings, lambda _, __: None)
    read_config(path, name)
    read_tokenizer(path)


def _add(total: EngineMetrics, more: EngineMetrics) -> None:
    for each in fields(EngineMetrics):
        setattr(total, each.name, getattr(total, each.name) + getattr(more, each.name))
