"""The engine process: serves one model at one address until it is idle or stopped."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from filelock import FileLock, Timeout
from starlette.applications import Starlette

from engine.api import EngineState
from engine.errors import ConfigurationError
from engine.local import LocalEngine
from engine.private_files import open_private_file
from engine.server.access import Activity
from engine.server.app import create_app
from engine.server.chat import RenderChat
from engine.server.connection import server_config
from engine.server.tcp_socket import tcp_socket
from engine.settings import EngineSettings, Listen
from engine.unix_socket import unix_socket

log = logging.getLogger(__name__)

FAILED_GRACE_S = 30.0
"""Seconds that a process stays after loading failed, so that clients can read the reason."""

_CHECK_EVERY_S = 0.5
_SWITCH_INTERVAL_S = 0.0005
"""Python's switch interval: seconds for which the event loop may keep the interpreter lock.

The engine's thread needs the interpreter after each step, which takes a millisecond or two with a
small model. With Python's default it would wait up to 5 ms.
"""


def run(
    settings: EngineSettings,
    listen: Listen,
    *,
    render_chat: RenderChat | None,
    is_shared: bool = True,
) -> None:
    """Serve until a signal arrives, or until idle for `settings.idle_timeout_s` seconds.

    The socket is bound before the model is loaded, so that `health` answers from the start. With
    `is_shared` clients start this process on demand: it returns immediately if another process
    already listens there, and a process that could not load its model reports it for a while.
    Otherwise both are errors. Raises ConfigurationError for an address that cannot be used, and
    the error of a model that cannot be loaded.
    """
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    with contextlib.ExitStack() as stack:
        host, token = None, listen.token
        if listen.uds is not None:
            if is_shared and not stack.enter_context(_exclusive_lock(_alive_file(listen.uds))):
                log.info("another engine already serves %s", listen.uds)
                return
            bound = stack.enter_context(unix_socket(listen.uds))
        else:
            host = listen.host
            needs_loopback = not (token or listen.endpoint_file)
            bound = stack.enter_context(tcp_socket(host, listen.port, needs_loopback))
            if listen.endpoint_file is not None:
                if not stack.enter_context(_exclusive_lock(_alive_file(listen.endpoint_file))):
                    return
                token = secrets.token_urlsafe(32)
                stack.enter_context(_endpoint_file(listen.endpoint_file, bound, token))
        engine, activity = LocalEngine(settings), Activity()
        app = create_app(engine, render_chat=render_chat, token=token, host=host, activity=activity)
        failed_grace_s = FAILED_GRACE_S if is_shared else 0.0
        asyncio.run(_serve(app, bound, _Idle(engine, activity, settings, failed_grace_s)))


def _alive_file(path: Path) -> Path:
    return path.with_suffix(".alive")


@contextmanager
def _exclusive_lock(lock_file: Path) -> Iterator[bool]:
    """Hold a lock inside the block; yields False if another process holds it.

    The operating system releases the lock of a killed process.
    """
    lock = FileLock(lock_file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    except OSError as error:
        raise ConfigurationError(
            f"The engine cannot use the lock file {lock_file}: {error.strerror or error}. Delete "
            "it, or choose an address in a folder that you can write to."
        ) from None
    try:
        yield True
    finally:
        lock.release()


@contextmanager
def _endpoint_file(path: Path, bound: socket.socket, token: str) -> Iterator[None]:
    partial = path.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    descriptor = open_private_file(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump({"port": bound.getsockname()[1], "token": token}, file)
    os.replace(partial, path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


@dataclass(frozen=True)
class _Idle:
    """Decides when a process ends by itself."""

    engine: LocalEngine
    activity: Activity
    settings: EngineSettings
    failed_grace_s: float
    """Seconds for which a process without a model goes on."""

    async def wait(self) -> None:
        """Return when the engine has been idle for too long, or has failed."""
        while True:
            await asyncio.sleep(_CHECK_EVERY_S)
            idle_s = self.activity.idle_seconds
            if (await self.engine.health()).state is EngineState.FAILED:
                if idle_s >= self.failed_grace_s:
                    return
            elif self.settings.idle_timeout_s and idle_s > self.settings.idle_timeout_s:
                log.info("idle for %.0f s: exiting", idle_s)
                return


async def _serve(app: Starlette, bound: socket.socket, idle: _Idle) -> None:
    server = uvicorn.Server(server_config(app))

    async def watch() -> None:
        await idle.wait()
        server.should_exit = True

    idle.engine.start()
    watcher = asyncio.create_task(watch())
    try:
        await server.serve(sockets=[bound])
    finally:
        watcher.cancel()
    await idle.engine.aclose()
    if (await idle.engine.health()).state is EngineState.FAILED:
        await idle.engine.info()  # raises the error
