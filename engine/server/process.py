"""The engine process: serves one model at one address until it is idle or stopped."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import json
import logging
import os
import secrets
import socket
import stat
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import uvicorn
from filelock import FileLock, Timeout

from engine.api import EngineState
from engine.errors import ConfigurationError
from engine.local import LocalEngine
from engine.private_files import open_private_file
from engine.server.access import Activity
from engine.server.app import create_app
from engine.server.chat import RenderChat
from engine.settings import EngineSettings, Listen

log = logging.getLogger(__name__)

FAILED_GRACE_S = 30.0
"""Seconds that a process stays after loading failed, so that clients can read the reason."""

_CHECK_EVERY_S = 0.5
_GRACEFUL_SHUTDOWN_S = 3
_SWITCH_INTERVAL_S = 0.0005
"""Python's switch interval: seconds for which the event loop may keep the interpreter lock.

The engine's thread needs the interpreter after each step, which takes a millisecond or two with a
small model. With Python's default it would wait up to 5 ms.
"""


def run(settings: EngineSettings, listen: Listen, *, render_chat: RenderChat | None) -> None:
    """Serve until a signal arrives, or until idle for `settings.idle_timeout_s` seconds.

    The socket is bound before the model is loaded, so that `health` answers from the start. Returns
    immediately if another process already listens there. Raises ConfigurationError for an address
    that cannot be used.
    """
    _require_token(listen)
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    with contextlib.ExitStack() as stack:
        if listen.uds is not None:
            if not stack.enter_context(_exclusive_lock(listen.uds.with_suffix(".alive"))):
                log.info("another engine already serves %s", listen.uds)
                return
            bound = stack.enter_context(_unix_socket(listen.uds))
            token = listen.token
        else:
            bound = stack.enter_context(_tcp_socket(listen.host, listen.port))
            token = listen.token
            if listen.endpoint_file is not None:
                if not stack.enter_context(
                    _exclusive_lock(listen.endpoint_file.with_suffix(".alive"))
                ):
                    return
                token = secrets.token_urlsafe(32)
                stack.enter_context(_endpoint_file(listen.endpoint_file, bound, token))
        asyncio.run(_serve(settings, bound, token, render_chat))


def _require_token(listen: Listen) -> None:
    if listen.uds is not None or listen.token or listen.endpoint_file:
        return
    try:
        is_loopback = listen.host == "localhost" or ipaddress.ip_address(listen.host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise ConfigurationError(
            f"Other machines could connect to this engine on {listen.host}. Set a token (--token "
            "or STARCODER_LSP_TOKEN) that clients must send."
        )


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
def _unix_socket(path: Path) -> Iterator[socket.socket]:
    """Listen on a socket that only this user may open, replacing one of a killed process."""
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    umask = os.umask(stat.S_IRWXG | stat.S_IRWXO | stat.S_IXUSR)
    try:
        _remove_socket(path)
        bound.bind(str(path))
    except OSError as error:
        bound.close()
        raise ConfigurationError(
            f"The engine cannot listen on {path}: {error.strerror or error}. Choose another --uds."
        ) from None
    finally:
        os.umask(umask)
    try:
        bound.listen(128)
        yield bound
    finally:
        bound.close()
        with contextlib.suppress(OSError):
            _remove_socket(path)


def _remove_socket(path: Path) -> None:
    """Remove a socket if there is one; raises FileExistsError for anything else."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(errno.EEXIST, "there is a file that is no socket")
    path.unlink(missing_ok=True)


@contextmanager
def _tcp_socket(host: str, port: int) -> Iterator[socket.socket]:
    try:
        bound = socket.create_server((host, port), backlog=128)
    except OSError as error:
        raise ConfigurationError(
            f"The engine cannot listen on {host}:{port}: {error.strerror}. Choose another --port."
        ) from None
    log.info("listening on http://%s:%d/v1", *bound.getsockname()[:2])
    with bound:
        yield bound


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


async def _serve(
    settings: EngineSettings,
    bound: socket.socket,
    token: str | None,
    render_chat: RenderChat | None,
) -> None:
    engine, activity = LocalEngine(settings), Activity()
    app = create_app(engine, render_chat=render_chat, token=token, activity=activity)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=_GRACEFUL_SHUTDOWN_S,
        )
    )
    async with _stop_when_idle(server, engine, activity, settings.idle_timeout_s):
        await server.serve(sockets=[bound])
    await engine.aclose()


@asynccontextmanager
async def _stop_when_idle(
    server: uvicorn.Server, engine: LocalEngine, activity: Activity, idle_timeout_s: float
) -> AsyncIterator[None]:
    async def watch() -> None:
        while True:
            await asyncio.sleep(_CHECK_EVERY_S)
            failed = (await engine.health()).state is EngineState.FAILED
            limit = FAILED_GRACE_S if failed else idle_timeout_s
            if limit and activity.idle_seconds > limit:
                log.info("idle for %.0f s: exiting", activity.idle_seconds)
                server.should_exit = True
                return

    engine.start()
    watcher = asyncio.create_task(watch())
    try:
        yield
    finally:
        watcher.cancel()
