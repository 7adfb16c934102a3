"""The shared engine process of this machine: found, started on demand, restarted if it died."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from filelock import AsyncFileLock

from engine.api import Chunk, EngineInfo, EngineState, GenerationRequest, Health
from engine.client.companion import model_to_reserve_for
from engine.client.endpoint import RuntimeFiles
from engine.client.http import HttpEngine
from engine.errors import EngineLostError, EngineStartError, EngineUnavailableError
from engine.settings import EngineSettings, to_argv
from engine.tokenizer import Tokenizer

log = logging.getLogger(__name__)

T = TypeVar("T")

DEFAULT_COMMAND = (sys.executable, "-P", "-m", "engine")
"""Command that starts the engine process.

Editors run the server in the user's project. Without -P, Python would import a module of the
project, such as its `numbers.py` or `engine.py`, in place of the intended one.
"""

_NOT_RUNNING = "the engine is not running"
_START_SECONDS = 60.0
"""Time from the process's start to its first answer. Loading comes later and may take longer."""
_POLL_SECONDS = 0.05


class ManagedEngine:
    """Implements `engine.api.Engine` with the one engine process that these settings share."""

    def __init__(
        self,
        settings: EngineSettings,
        command: Sequence[str] = DEFAULT_COMMAND,
        *,
        companion: EngineSettings | None = None,
        unix: bool | None = None,
    ) -> None:
        self._settings = settings
        self.companion = companion
        """The other engine that the user needs; a new process leaves memory free for its model."""
        self._command = tuple(command)
        self._unix = unix
        self._activity = _NOT_RUNNING
        self._connected: HttpEngine | None = None
        self._connecting: asyncio.Task[HttpEngine] | None = None
        self._dropped: list[HttpEngine] = []

    async def health(self) -> Health:
        """See `Engine.health`. An engine that is not running is `starting`."""
        engine = self._connected or await asyncio.to_thread(self._find)
        if engine is None:
            return Health(EngineState.STARTING, self._activity)
        health = await engine.health()
        if engine is not self._connected:
            await engine.aclose()
        return health

    async def info(self) -> EngineInfo:
        """See `Engine.info`. Starts the engine."""
        return await self._with_engine(HttpEngine.info)

    async def tokenizer(self, adapter: str | None = None) -> Tokenizer:
        """See `Engine.tokenizer`. Starts the engine."""
        return await self._with_engine(lambda engine: engine.tokenizer(adapter))

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """See `Engine.stream`. Starts the engine, and restarts it once if it was unreachable."""
        for is_last_try in (False, True):
            engine = await self._engine()
            has_output = False
            stream = engine.stream(request)
            try:
                async for chunk in stream:
                    has_output = True
                    yield chunk
                return
            except EngineUnavailableError as error:
                self._drop(engine)
                # An engine that ended between requests is started again. If it ended during a
                # request, the caller gets the error.
                if has_output or is_last_try or isinstance(error, EngineLostError):
                    raise
            finally:
                await stream.aclose()

    async def aclose(self) -> None:
        """Close the connection; the engine process keeps running for other clients."""
        if self._connected is not None:
            self._drop(self._connected)
        for engine in self._dropped:
            await engine.aclose()
        self._dropped.clear()

    async def _with_engine(self, call: Callable[[HttpEngine], Awaitable[T]]) -> T:
        try:
            return await call(await self._engine())
        except EngineUnavailableError:
            if self._connected is not None:
                self._drop(self._connected)
            return await call(await self._engine())

    def _drop(self, engine: HttpEngine) -> None:
        """Stop using a connection. `aclose` closes it, since other requests may still use it."""
        if self._connected is engine:
            self._connected = None
            self._dropped.append(engine)

    async def _engine(self) -> HttpEngine:
        """Return a connection to an engine that answers, starting one if necessary.

        All waiting requests share one task that starts the engine, and none of them can cancel it:
        the next keystroke cancels a request, but must not abandon the engine's start.
        """
        if self._connected is None:
            if self._connecting is None or self._connecting.done():
                self._connecting = asyncio.create_task(self._connect())
            return await asyncio.shield(self._connecting)
        return self._connected

    async def _connect(self) -> HttpEngine:
        self._connected = await self._find_answering() or await self._start()
        return self._connected

    def _find(self) -> HttpEngine | None:
        endpoint = RuntimeFiles.for_settings(self._settings, unix=self._unix).endpoint()
        return None if endpoint is None else HttpEngine(endpoint)

    async def _find_answering(self) -> HttpEngine | None:
        """Return a connection if an engine answers; a socket may outlive its process."""
        engine = await asyncio.to_thread(self._find)
        if engine is None:
            return None
        health = await engine.health()
        if health.pid is None:
            await engine.aclose()
            return None
        return engine

    async def _start(self) -> HttpEngine:
        files = await asyncio.to_thread(RuntimeFiles.for_settings, self._settings, unix=self._unix)
        async with _start_lock(files.start_lock):
            # Another client may have started it while this one waited for the lock.
            if engine := await self._find_answering():
                return engine
            settings = await self._settings_to_start()
            process, log_file = await asyncio.to_thread(self._spawn, files, settings)
            deadline = time.monotonic() + _START_SECONDS
            while time.monotonic() < deadline:
                if engine := await self._find_answering():
                    return engine
                if process.poll():
                    raise EngineStartError(_exit_message(process.returncode, log_file))
                # Status 0: another process had the address. It may have been about to exit.
                if process.returncode == 0:
                    process, log_file = await asyncio.to_thread(self._spawn, files, settings)
                await asyncio.sleep(_POLL_SECONDS)
            process.kill()
            raise EngineStartError(
                f"The engine did not answer within {_START_SECONDS:.0f} s of its start; see "
                f"{log_file}."
            )

    async def _settings_to_start(self) -> EngineSettings:
        if self.companion is None:
            return self._settings
        self._activity = f"waiting until {self.companion.model} is loaded"
        try:
            model = await model_to_reserve_for(self.companion, self._unix)
        finally:
            self._activity = _NOT_RUNNING
        return replace(self._settings, reserve_for=model)

    def _spawn(
        self, files: RuntimeFiles, settings: EngineSettings
    ) -> tuple[subprocess.Popen[bytes], Path]:
        """Start the engine process; return it with the path of its log."""
        argv = [*self._command, *to_argv(settings, files.listen)]
        output, log_file = files.open_log()
        log.info("starting the engine; its log is %s", log_file)
        try:
            with output:
                process = subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    # The engine must outlive the editor that started it.
                    start_new_session=True,
                )
        except OSError as error:
            raise EngineStartError(
                f"The engine cannot be started: {argv[0]}: {error.strerror}."
            ) from error
        return process, log_file


@asynccontextmanager
async def _start_lock(path: Path) -> AsyncIterator[None]:
    """Hold the lock of the engine's start. Raises EngineStartError if the file cannot be used."""
    lock = AsyncFileLock(path)
    try:
        await lock.acquire()
    except OSError as error:
        raise EngineStartError(
            f"The engine's lock file {path} cannot be used ({error.strerror or error}). Delete it."
        ) from None
    try:
        yield
    finally:
        await lock.release()


def _exit_message(status: int, log_file: Path) -> str:
    try:
        lines = log_file.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        lines = []
    last = f" Its last log line: {lines[-1]}" if lines else ""
    return f"The engine exited immediately with status {status}.{last} The log is {log_file}."
