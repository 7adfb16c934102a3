"""The shared engine process of this machine: found, started on demand, restarted if it died."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from filelock import AsyncFileLock

from engine.api import Chunk, EngineInfo, EngineState, GenerationRequest, Health
from engine.client.companion import model_to_reserve_for
from engine.client.control import EngineControl
from engine.client.endpoint import Endpoint, RuntimeFiles
from engine.client.http import HttpEngine
from engine.errors import (
    EngineReplacedError,
    EngineSilentError,
    EngineStartError,
    EngineUnavailableError,
    StarcoderError,
)
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
_MAX_EXIT_SECONDS = 10.0
"""Time for which the address may belong to an engine that answers nothing, because it is about to
exit."""
_MAX_TRIES = 3
"""Number of engines that a request may find ended before its first chunk."""
_MAX_KILLED_STARTS = 2
"""Number of processes that may be killed during one start before it fails."""


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
        self._control: EngineControl | None = None
        self._has_left = False
        self._known_model: str | None = None
        """The model that callers know, and whose token ids they send."""

    async def health(self) -> Health:
        """See `Engine.health`. An engine that is not running is `starting`."""
        connected = self._connected
        engine = connected or await asyncio.to_thread(self._find)
        if engine is None:
            return Health(EngineState.STARTING, self._activity)
        try:
            return await engine.probe()
        except EngineSilentError as error:
            return Health(EngineState.FAILED, error.user_message)
        except EngineUnavailableError:  # its socket has outlived it
            return Health(EngineState.STARTING, self._activity)
        finally:
            if engine is not connected:
                await engine.aclose()

    async def info(self) -> EngineInfo:
        """See `Engine.info`. Starts the engine."""
        info = await self._with_engine(HttpEngine.info)
        self._known_model = info.model
        return info

    async def tokenizer(self, adapter: str | None = None) -> Tokenizer:
        """See `Engine.tokenizer`. Starts the engine."""
        return await self._with_engine(lambda engine: engine.tokenizer(adapter))

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """See `Engine.stream`. Starts the engine, and restarts it if it has ended.

        A connection to a process that is being killed still opens, so one more try is not enough.
        Raises EngineLostError if the engine ends after its first chunk, and EngineReplacedError if
        the restarted engine has another model than the one that `info` reported.
        """
        for num_left in reversed(range(_MAX_TRIES)):
            engine = await self._engine()
            has_output = False
            stream = engine.stream(request)
            try:
                await self._check_model(engine)
                async for chunk in stream:
                    has_output = True
                    yield chunk
                return
            except (EngineSilentError, EngineReplacedError):
                raise
            except EngineUnavailableError:
                self._drop(engine)
                # The caller may have shown the output so far, and a new one may differ.
                if has_output or not num_left:
                    raise
            finally:
                await stream.aclose()

    async def _check_model(self, engine: HttpEngine) -> None:
        model = (await engine.info()).model
        expected, self._known_model = self._known_model, model
        if expected not in (None, model):
            raise EngineReplacedError(f"The engine now has the model {model}. Ask again to use it.")

    async def leave(self) -> None:
        """Close the connection, because another model was chosen.

        The process then exits if it has no other client. Requests that still come here fail: they
        must not start it again.
        """
        self._has_left = True
        if self._connecting is not None:
            with suppress(StarcoderError):
                await asyncio.shield(self._connecting)
        if self._control is not None:
            await self._control.leave()
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection; the engine process keeps running until it is idle for long."""
        if self._connected is not None:
            self._drop(self._connected)
        for engine in self._dropped:
            await engine.aclose()
        self._dropped.clear()
        if self._control is not None:
            await self._control.aclose()
            self._control = None

    async def _with_engine(self, call: Callable[[HttpEngine], Awaitable[T]]) -> T:
        for num_left in reversed(range(_MAX_TRIES)):
            engine = await self._engine()
            try:
                return await call(engine)
            except EngineSilentError:
                raise
            except EngineUnavailableError:
                self._drop(engine)
                if not num_left:
                    raise
        raise AssertionError("the last try returns or raises")

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
        if self._has_left:
            raise EngineReplacedError("Another model was chosen meanwhile. Ask again to use it.")
        if self._connected is None:
            if self._connecting is None or self._connecting.done():
                self._connecting = asyncio.create_task(self._connect())
            return await asyncio.shield(self._connecting)
        return self._connected

    async def _connect(self) -> HttpEngine:
        engine = await self._find_answering() or await self._start()
        await self._attend(engine.endpoint)
        self._connected = engine
        return engine

    async def _attend(self, endpoint: Endpoint) -> None:
        """Be a client of the process that answers now, and of no earlier one."""
        if self._control is not None:
            await self._control.aclose()
        self._control = EngineControl(endpoint)
        await self._control.attend(self._settings.idle_timeout_s)

    def _find(self) -> HttpEngine | None:
        files = RuntimeFiles.for_settings(self._settings, unix=self._unix)
        endpoint = files.resolved().endpoint()
        return None if endpoint is None else HttpEngine(endpoint)

    async def _find_answering(self) -> HttpEngine | None:
        """Return a connection if an engine answers; a socket may outlive its process.

        Raises EngineSilentError if a process has the socket, but does not answer.
        """
        engine = await asyncio.to_thread(self._find)
        if engine is None:
            return None
        is_engine = False
        try:
            is_engine = (await engine.probe()).pid is not None
        except EngineSilentError:
            raise
        except EngineUnavailableError:
            pass
        finally:
            if not is_engine:
                await engine.aclose()
        return engine if is_engine else None

    async def _start(self) -> HttpEngine:
        files = await asyncio.to_thread(RuntimeFiles.for_settings, self._settings, unix=self._unix)
        async with _start_lock(files.start_lock):
            # Another client may have started it while this one waited for the lock.
            if engine := await self._find_answering() or await self._wait_for_other(files):
                return engine
            settings = await self._settings_to_start()
            started, num_killed = time.monotonic(), 0
            process, log_file = await asyncio.to_thread(self._spawn, files, settings)
            while (elapsed := time.monotonic() - started) < _START_SECONDS:
                with suppress(EngineSilentError):  # it has its socket, but does not serve it yet
                    if engine := await self._find_answering():
                        return engine
                status = process.poll()
                num_killed += status is not None and status < 0
                if status and (status > 0 or num_killed > _MAX_KILLED_STARTS):
                    raise EngineStartError(_exit_message(status, log_file))
                # Status 0: another process had the address. It may have been about to exit.
                if status == 0 and elapsed > _MAX_EXIT_SECONDS:
                    raise EngineSilentError(
                        f"An engine has the address {files.listen.uds or files.directory}, but "
                        "does not answer. End its process; the next request then starts it again."
                    )
                if status is not None:
                    process, log_file = await asyncio.to_thread(self._spawn, files, settings)
                await asyncio.sleep(_POLL_SECONDS)
            process.kill()
            raise EngineStartError(
                f"The engine did not answer within {_START_SECONDS:.0f} s of its start; see "
                f"{log_file}."
            )

    async def _wait_for_other(self, files: RuntimeFiles) -> HttpEngine | None:
        """Wait for the engine of another key that has the model, if it runs but starts just now."""
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            other = await asyncio.to_thread(files.resolved)
            if other.key == files.key or not await asyncio.to_thread(other.is_served):
                return None
            await asyncio.sleep(_POLL_SECONDS)
            if engine := await self._find_answering():
                return engine
        return None

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


def shares_process(
    settings: EngineSettings, other: EngineSettings, unix: bool | None = None
) -> bool:
    """Return whether two settings mean the same engine process. Blocks.

    What `auto` means is known only while its engine runs.
    """
    keys = [RuntimeFiles.for_settings(each, unix=unix).resolved().key for each in (settings, other)]
    return keys[0] == keys[1]


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
