"""The engine of this machine: found if it runs, started if not, started again if it died."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

from filelock import AsyncFileLock

from engine.api import Chunk, EngineInfo, EngineState, GenerationRequest, Health
from engine.arguments import to_argv
from engine.client.endpoint import RuntimeFiles
from engine.client.http import HttpEngine
from engine.errors import EngineLostError, EngineStartError, EngineUnavailableError
from engine.settings import EngineSettings
from engine.tokenizer import Tokenizer

log = logging.getLogger(__name__)

T = TypeVar("T")

DEFAULT_COMMAND = (sys.executable, "-P", "-m", "engine")
"""With -P: an editor runs us in the user's project, and Python would otherwise import from there
whatever has the name of a module, a `numbers.py` or an `engine.py` of somebody else's."""

_START_SECONDS = 60.0
"""From the start of the process to its socket; loading comes after that and may take longer."""
_LOOK_EVERY_S = 0.05
_LONGEST_LOG_BYTES = 2_000_000


class ManagedEngine:
    """Implements `engine.api.Engine` with the one engine process that these settings share."""

    def __init__(
        self,
        settings: EngineSettings,
        command: Sequence[str] = DEFAULT_COMMAND,
        *,
        unix: bool | None = None,
    ) -> None:
        self._settings = settings
        self._command = tuple(command)
        self._unix = unix
        self._connected: HttpEngine | None = None
        self._connecting: asyncio.Task[HttpEngine] | None = None
        self._forgotten: list[HttpEngine] = []

    async def health(self) -> Health:
        """See `Engine.health`. An engine that nobody has started is `starting`."""
        engine = self._connected or await asyncio.to_thread(self._find)
        if engine is None:
            return Health(EngineState.STARTING, "the engine is not running")
        health = await engine.health()
        if engine is not self._connected:
            await engine.aclose()
        return health

    async def info(self) -> EngineInfo:
        """See `Engine.info`; starts the engine."""
        return await self._with_engine(HttpEngine.info)

    async def tokenizer(self, adapter: str | None = None) -> Tokenizer:
        """See `Engine.tokenizer`; starts the engine."""
        return await self._with_engine(lambda engine: engine.tokenizer(adapter))

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """See `Engine.stream`; starts the engine, and again when it is gone before it answers."""
        for last_try in (False, True):
            engine = await self._engine()
            begun = False
            stream = engine.stream(request)
            try:
                async for chunk in stream:
                    begun = True
                    yield chunk
                return
            except EngineUnavailableError as error:
                self._forget(engine)
                # Gone while nobody asked: start anew. Gone in mid-answer: say so.
                if begun or last_try or isinstance(error, EngineLostError):
                    raise
            finally:
                await stream.aclose()

    async def aclose(self) -> None:
        """Close the connection; the engine process lives on for others."""
        if self._connected is not None:
            self._forget(self._connected)
        for engine in self._forgotten:
            await engine.aclose()
        self._forgotten.clear()

    async def _with_engine(self, ask: Callable[[HttpEngine], Awaitable[T]]) -> T:
        try:
            return await ask(await self._engine())
        except EngineUnavailableError:
            if self._connected is not None:
                self._forget(self._connected)
            return await ask(await self._engine())

    def _forget(self, engine: HttpEngine) -> None:
        """Use a connection no more. It is closed later: other answers may still come over it."""
        if self._connected is engine:
            self._connected = None
            self._forgotten.append(engine)

    async def _engine(self) -> HttpEngine:
        """Return a connection to an engine that answers, starting one if need be.

        Starting is one task that all who wait share and none can cancel: a request is cancelled at
        the next key, and an engine that starts must not be abandoned for that.
        """
        if self._connected is None:
            if self._connecting is None or self._connecting.done():
                self._connecting = asyncio.create_task(self._connect())
            return await asyncio.shield(self._connecting)
        return self._connected

    async def _connect(self) -> HttpEngine:
        self._connected = await self._answering() or await self._start()
        return self._connected

    def _find(self) -> HttpEngine | None:
        endpoint = RuntimeFiles.for_settings(self._settings, unix=self._unix).endpoint()
        return None if endpoint is None else HttpEngine(endpoint)

    async def _answering(self) -> HttpEngine | None:
        """Return a connection if somebody answers there; a socket without a process does not."""
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
        async with AsyncFileLock(files.start_lock):
            # Another server may have started it while we waited for the lock.
            if engine := await self._answering():
                return engine
            process = await asyncio.to_thread(self._spawn, files)
            deadline = time.monotonic() + _START_SECONDS
            while time.monotonic() < deadline:
                if engine := await self._answering():
                    return engine
                if process.poll():
                    raise EngineStartError(_why_it_ended(process.returncode, files.log_file))
                # Status 0 means that another process held the address; it may have been leaving.
                if process.returncode == 0:
                    process = await asyncio.to_thread(self._spawn, files)
                await asyncio.sleep(_LOOK_EVERY_S)
            process.kill()
            raise EngineStartError(
                f"The engine did not answer within {_START_SECONDS:.0f} s of its start; see "
                f"{files.log_file}."
            )

    def _spawn(self, files: RuntimeFiles) -> subprocess.Popen[bytes]:
        argv = [*self._command, *to_argv(self._settings, files.listen)]
        files.log_file.parent.mkdir(parents=True, exist_ok=True)
        too_long = files.log_file.exists() and files.log_file.stat().st_size > _LONGEST_LOG_BYTES
        log.info("starting the engine; its log is %s", files.log_file)
        try:
            with files.log_file.open("wb" if too_long else "ab") as output:
                return subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    # A life of its own: it must outlast the editor that happened to be first.
                    start_new_session=True,
                )
        except OSError as error:
            raise EngineStartError(
                f"The engine cannot be started: {argv[0]}: {error.strerror}."
            ) from error


def _why_it_ended(status: int, log_file: Path) -> str:
    try:
        lines = log_file.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        lines = []
    last = f" Its last words: {lines[-1]}" if lines else ""
    return f"The engine ended at once with status {status}.{last} The log is {log_file}."
