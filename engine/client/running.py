"""The engine processes of this user on this machine: which ones run, and how one is stopped."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from dataclasses import dataclass
from typing import Any

import psutil

from engine.client.control import EngineControl
from engine.client.endpoint import RuntimeFiles
from engine.errors import EngineUnavailableError
from engine.private_files import read_private_file

SILENT = "silent"
"""State of a process that does not answer."""

_STOP_SECONDS = 10.0
"""Seconds that a process may take to end after it was asked to."""
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class RunningEngine:
    """One engine process of this user."""

    files: RuntimeFiles
    pid: int
    model: str = ""
    """Name of the model, or the setting while it is not loaded; empty if the process is silent."""
    state: str = SILENT
    """An `engine.api.EngineState`, or `SILENT`."""
    detail: str = ""
    """Progress of loading, or the reason of a failure."""
    device: str = ""
    dtype: str = ""
    memory_bytes: int = 0
    gpu_memory_bytes: int = 0
    clients: int = 0
    """Number of editors and commands that are connected."""
    idle_s: float = 0.0
    """Seconds since the last request."""
    idle_timeout_s: float = 0.0
    """Seconds without a request after which the process exits; 0 is never."""

    @property
    def address(self) -> str:
        """Path of the Unix socket, or URL."""
        endpoint = self.files.endpoint()
        if endpoint is None:
            return ""
        return endpoint.url if endpoint.uds is None else str(endpoint.uds)


async def running_engines(*, unix: bool | None = None) -> list[RunningEngine]:
    """Return the engine processes of this user, oldest first.

    The runtime directory belongs to this user alone, so those of other users are never among them.
    Raises EngineStartError if the directory cannot be used.
    """
    every = await asyncio.to_thread(RuntimeFiles.running, unix=unix)
    engines = await asyncio.gather(*map(_inspect, every))
    return [engine for _, engine in sorted(filter(None, engines), key=lambda each: each[0])]


async def _inspect(files: RuntimeFiles) -> tuple[float, RunningEngine] | None:
    """Return when a process was created, and what it is; None if it has just ended."""
    process = await asyncio.to_thread(_process_of, files)
    if process is None:
        return None
    engine = RunningEngine(files, process.pid)
    report = await _report(files)
    if report is not None:
        names = set(RunningEngine.__slots__) - {"files", "pid"}
        engine = RunningEngine(
            files, process.pid, **{name: report[name] for name in names if name in report}
        )
    return process.create_time(), engine


async def _report(files: RuntimeFiles) -> dict[str, Any] | None:
    endpoint = await asyncio.to_thread(files.endpoint)
    if endpoint is None:
        return None
    control = EngineControl(endpoint)
    try:
        return await control.report()
    finally:
        await control.aclose()


def _process_of(files: RuntimeFiles) -> psutil.Process | None:
    """Return the process that wrote the process file, None if another one has its id by now."""
    try:
        record = json.loads(read_private_file(files.process_file))
        process = psutil.Process(int(record["pid"]))
        is_same = abs(process.create_time() - float(record["created"])) < 1.0
        is_ours = not hasattr(os, "getuid") or process.uids().effective == os.getuid()
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        return None
    return process if is_same and is_ours else None


async def stop_engine(engine: RunningEngine) -> None:
    """End an engine process: it is asked to exit, and killed if it does not.

    Returns when it has ended. Raises EngineUnavailableError if it does not end.
    """
    process = await asyncio.to_thread(_process_of, engine.files)
    if process is None or process.pid != engine.pid:
        return
    endpoint = await asyncio.to_thread(engine.files.endpoint)
    has_heard = False
    if endpoint is not None:
        control = EngineControl(endpoint)
        try:
            has_heard = await control.stop()
        finally:
            await control.aclose()
    if has_heard and await _has_ended(process, engine.files):
        return
    with contextlib.suppress(psutil.Error):
        process.kill()
    if not await _has_ended(process, engine.files):
        raise EngineUnavailableError(
            f"The engine process {engine.pid} does not end. End it with the system's own tools."
        )


async def _has_ended(process: psutil.Process, files: RuntimeFiles) -> bool:
    """Wait until a process has ended and given up its lock; return whether it has.

    A client whose request was interrupted immediately starts the next process, with the same files.
    """
    deadline = time.monotonic() + _STOP_SECONDS
    while time.monotonic() < deadline:
        try:
            is_running = process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            is_running = False
        if not is_running and not await asyncio.to_thread(_holds_lock, process, files):
            return True
        await asyncio.sleep(_POLL_SECONDS)
    return False


def _holds_lock(process: psutil.Process, files: RuntimeFiles) -> bool:
    """Whether a process whose first thread has ended may still have others, and its lock."""
    current = _process_of(files)
    return current is not None and current.pid == process.pid and files.is_served()
