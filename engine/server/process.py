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

import psutil
import uvicorn
from filelock import FileLock, Timeout

from engine.api import EngineState
from engine.client.endpoint import RuntimeFiles
from engine.errors import ConfigurationError
from engine.loading.sharing import Sharing
from engine.local import LocalEngine
from engine.private_files import write_private_file
from engine.server.access import Activity
from engine.server.app import create_app
from engine.server.chat import RenderChat
from engine.server.claim import Claim
from engine.server.clients import Clients, control_routes
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
    """Serve until a signal arrives, or until the process has been idle for too long.

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
        files = RuntimeFiles.of_address(listen) if is_shared else None
        sharing = None if files is None else stack.enter_context(_claiming(files, settings))
        asyncio.run(_serve(_Process(settings, sharing, token, host, render_chat, is_shared), bound))


def _alive_file(path: Path) -> Path:
    return path.with_suffix(".alive")  # of a shared process, `RuntimeFiles.alive_lock`


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
    address = {"port": bound.getsockname()[1], "token": token}
    write_private_file(path, json.dumps(address).encode())
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def _claiming(files: RuntimeFiles, settings: EngineSettings) -> Iterator[Sharing]:
    """Let clients find this process inside the block, and yield what it shares with others."""
    claim = Claim(files, settings)
    record = {"pid": os.getpid(), "created": psutil.Process().create_time()}
    write_private_file(files.process_file, json.dumps(record).encode())
    try:
        yield Sharing(claim.is_loaded, claim.claim)
    finally:
        files.process_file.unlink(missing_ok=True)
        claim.release()


@dataclass(frozen=True)
class _Process:
    """What a process serves, and to whom."""

    settings: EngineSettings
    sharing: Sharing | None
    token: str | None
    host: str | None
    render_chat: RenderChat | None
    is_shared: bool


class _Server(uvicorn.Server):
    """Ends the responses that clients keep open, before it waits for the others."""

    def __init__(self, config: uvicorn.Config, clients: Clients) -> None:
        super().__init__(config)
        self._clients = clients

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """See `uvicorn.Server`."""
        self._clients.closing.set()
        await super().shutdown(sockets)


async def _wait_for_exit(
    engine: LocalEngine, activity: Activity, clients: Clients, failed_grace_s: float
) -> None:
    """Return when the process must end by itself.

    It ends if it has been idle for too long or has failed, if the user has stopped it, if its last
    client has chosen another model, or if another process has its model. A process without a model
    goes on for `failed_grace_s` seconds.
    """
    while True:
        await asyncio.sleep(_CHECK_EVERY_S)
        idle_s, timeout_s = activity.idle_seconds, clients.idle_timeout_s
        is_unused = clients.is_abandoned and idle_s > 0
        if engine.is_elsewhere or clients.is_stopped or is_unused:
            log.info("this process is not needed: exiting")
            return
        if (await engine.health()).state is EngineState.FAILED:
            if idle_s >= failed_grace_s:
                return
        elif timeout_s and idle_s > timeout_s:
            log.info("idle for %.0f s: exiting", idle_s)
            return


async def _serve(process: _Process, bound: socket.socket) -> None:
    settings = process.settings
    engine, activity = LocalEngine(settings, process.sharing), Activity()
    clients = Clients(settings.idle_timeout_s)
    routes = control_routes(engine, settings, clients, activity) if process.is_shared else []
    app = create_app(
        engine,
        render_chat=process.render_chat,
        token=process.token,
        host=process.host,
        activity=activity,
        further_routes=routes,
    )
    server = _Server(server_config(app), clients)
    failed_grace_s = FAILED_GRACE_S if process.is_shared else 0.0

    async def watch() -> None:
        await _wait_for_exit(engine, activity, clients, failed_grace_s)
        server.should_exit = True

    engine.start()
    watcher = asyncio.create_task(watch())
    try:
        await server.serve(sockets=[bound])
    finally:
        watcher.cancel()
    await engine.aclose()
    if (await engine.health()).state is EngineState.FAILED:
        await engine.info()  # raises the error
