"""The engine process: serves one model at one address until it is idle or stopped."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import socket
import ssl
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from engine.api import EngineState
from engine.client.endpoint import RuntimeFiles
from engine.errors import ConfigurationError
from engine.loading.sharing import Sharing
from engine.local import LocalEngine
from engine.server.access import Activity
from engine.server.app import create_app
from engine.server.clients import Clients, control_routes
from engine.server.connection import server_config
from engine.server.fim import RenderFim
from engine.server.operation.access_log import access_log
from engine.server.operation.draining import Drain, DrainingServer
from engine.server.operation.hangup import Hangup
from engine.server.operation.reloading import Reload, ReloadingEngine
from engine.server.operation.request_record import RequestObserver
from engine.server.operation.tls import TlsFiles
from engine.server.process_files import alive_file, claiming, exclusive_lock, published_address
from engine.server.prompts import RenderChat
from engine.server.tcp_socket import tcp_socket
from engine.server.users.accounts import Limits
from engine.server.users.guard import KeyRing
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


@dataclass(frozen=True, slots=True)
class TeamOptions:
    """Options of a process that an administrator starts for several users."""

    keys: Path | None = None
    """File with the users' keys (`engine.server.users.key_file`)."""
    limits: Limits = field(default_factory=Limits)
    """Limits of each user to whom the file gives no other ones."""
    access_log: Path | Literal["stderr"] | None = None
    """Where the access log is written; None for no access log."""
    tls: TlsFiles | None = None
    """Certificate and key; None for plain HTTP."""
    drain_s: float = 30.0
    """Seconds that running requests get to finish when a signal ends the process."""
    reload: Reload = "keep"
    """What happens to the old model while SIGHUP loads a new one."""


def run(
    settings: EngineSettings,
    listen: Listen,
    *,
    render_chat: RenderChat | None,
    render_fim: RenderFim | None = None,
    aliases: Sequence[str] = (),
    team: TeamOptions | None = None,
) -> None:
    """Serve until a signal arrives, or until the process has been idle for too long.

    The socket is bound before the model is loaded, so that `health` answers from the start. Without
    `team` clients start this process on demand: it returns immediately if another process already
    listens there, and a process that could not load its model reports it for a while. Otherwise
    both are errors. `aliases` are further names of the model, for clients. Raises
    ConfigurationError for an address, a key file, a certificate or an access log that cannot be
    used, and the error of a model that cannot be loaded.
    """
    is_shared = team is None
    team = team or TeamOptions()
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    with contextlib.ExitStack() as stack:
        host, token = None, listen.token
        keys = None if team.keys is None else KeyRing(team.keys)
        tls = None if team.tls is None else team.tls.context()
        if listen.uds is not None:
            if is_shared and not stack.enter_context(exclusive_lock(alive_file(listen.uds))):
                log.info("another engine already serves %s", listen.uds)
                return
            bound = stack.enter_context(unix_socket(listen.uds))
        else:
            host = listen.host
            scheme = "http" if tls is None else "https"
            needs_loopback = not (token or keys or listen.endpoint_file)
            bound = stack.enter_context(tcp_socket(host, listen.port, needs_loopback, scheme))
            if listen.endpoint_file is not None:
                if not stack.enter_context(exclusive_lock(alive_file(listen.endpoint_file))):
                    return
                token = secrets.token_urlsafe(32)
                stack.enter_context(published_address(listen.endpoint_file, bound, token))
        files = RuntimeFiles.of_address(listen) if is_shared else None
        sharing = None if files is None else stack.enter_context(claiming(files, settings))
        observers = []
        if team.access_log is not None:
            path = None if team.access_log == "stderr" else team.access_log
            observers.append(stack.enter_context(access_log(path)).observe)
        access = _Access(host, token, keys, team.limits, observers)
        process = _Process(
            settings, sharing, access, render_chat, render_fim, tuple(aliases), is_shared, team, tls
        )
        asyncio.run(_serve(process, bound))


@dataclass(frozen=True)
class _Access:
    """Who may use a process, and who learns of each request."""

    host: str | None
    token: str | None
    keys: KeyRing | None
    limits: Limits
    observers: Sequence[RequestObserver]


@dataclass(frozen=True)
class _Process:
    """What a process serves, and to whom."""

    settings: EngineSettings
    sharing: Sharing | None
    access: _Access
    render_chat: RenderChat | None
    render_fim: RenderFim | None
    aliases: tuple[str, ...]
    is_shared: bool
    team: TeamOptions
    tls: ssl.SSLContext | None


async def _wait_for_exit(
    engine: LocalEngine | ReloadingEngine,
    activity: Activity,
    clients: Clients,
    failed_grace_s: float,
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
        is_elsewhere = isinstance(engine, LocalEngine) and engine.is_elsewhere
        if is_elsewhere or clients.is_stopped or is_unused:
            log.info("this process is not needed: exiting")
            return
        if (await engine.health()).state is EngineState.FAILED:
            if idle_s >= failed_grace_s:
                return
        elif timeout_s and idle_s > timeout_s:
            log.info("idle for %.0f s: exiting", idle_s)
            return


async def _reload(engine: ReloadingEngine, process: _Process) -> None:
    """Read the certificate and the model again. What cannot be used stays as it is."""
    files = process.team.tls
    if files is not None and process.tls is not None:
        try:
            files.renew(process.tls)
            log.info("new connections get the certificate in %s", files.certificate)
        except ConfigurationError as error:
            log.error("the certificate stays as it is: %s", error.user_message)
    await engine.reload()


async def _serve(process: _Process, bound: socket.socket) -> None:
    settings, access = process.settings, process.access
    activity, drain = Activity(), Drain()
    clients = Clients(settings.idle_timeout_s)
    engine: LocalEngine | ReloadingEngine
    if process.is_shared:
        engine = LocalEngine(settings, process.sharing)
        routes = control_routes(engine, settings, clients, activity)
    else:
        engine, routes = ReloadingEngine(settings, process.team.reload), []
    app = create_app(
        engine,
        render_chat=process.render_chat,
        render_fim=process.render_fim,
        aliases=process.aliases,
        token=access.token,
        keys=access.keys,
        limits=access.limits,
        host=access.host,
        activity=activity,
        drain=drain,
        further_routes=routes,
        observers=access.observers,
    )
    drain_s = 0.0 if process.is_shared else process.team.drain_s
    server = DrainingServer(server_config(app, process.tls), clients, drain, drain_s)
    failed_grace_s = FAILED_GRACE_S if process.is_shared else 0.0

    async def watch() -> None:
        await _wait_for_exit(engine, activity, clients, failed_grace_s)
        server.should_exit = True

    engine.start()
    watchers = [asyncio.create_task(watch())]
    if access.keys is not None:
        watchers.append(asyncio.create_task(access.keys.watch()))
    if isinstance(engine, ReloadingEngine):
        Hangup(partial(_reload, engine, process), server.drain, lambda: server.is_ending).listen()
    try:
        await server.serve(sockets=[bound])
    finally:
        for watcher in watchers:
            watcher.cancel()
    await engine.aclose()
    if (await engine.health()).state is EngineState.FAILED:
        await engine.info()  # raises the error
