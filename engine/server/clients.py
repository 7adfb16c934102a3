"""The clients of a shared engine process, and what they may ask of the process itself.

Each client keeps one response open for as long as it uses the engine. The connection ends with the
client, also if the client is killed. So the process knows how many clients it has, which idle
timeout they want, and when the last one has chosen another model. These URLs are no part of the
public interface: they exist on the private address of a process that clients start on demand.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from engine.api import EngineState
from engine.local import LocalEngine
from engine.machine import used_memory
from engine.server.access import Activity
from engine.server.refusal import Refusal
from engine.settings import EngineSettings

_CLIENT_ID = re.compile(r"[0-9a-f]{32}")


class Clients:
    """Counts the connected clients, and holds what they want of the process."""

    def __init__(self, idle_timeout_s: float) -> None:
        self._idle_timeouts: dict[str, float] = {}
        self.idle_timeout_s = idle_timeout_s
        """Seconds without a request after which the process exits; 0 is never.

        It is the longest that a connected client wants. It stays when the last client goes.
        """
        self.is_abandoned = False
        """Whether the last client has chosen another model, and no other has come since."""
        self.is_stopped = False
        """Whether the user has stopped the process; clients that need it start it again."""
        self.closing = asyncio.Event()
        """Set when the process exits, so that no client's response delays that."""

    @property
    def number(self) -> int:
        """Number of connected clients."""
        return len(self._idle_timeouts)

    def connect(self, client: str, idle_timeout_s: float) -> None:
        """Add a client, which wants this idle timeout."""
        self._idle_timeouts[client] = idle_timeout_s
        self.is_abandoned = False
        self._choose_timeout()

    def disconnect(self, client: str) -> None:
        """Remove a client whose connection has ended."""
        self._idle_timeouts.pop(client, None)
        self._choose_timeout()

    def leave(self, client: str) -> None:
        """Remove a client that has chosen another model; without any other, the process exits."""
        if self._idle_timeouts.pop(client, None) is not None and not self._idle_timeouts:
            self.is_abandoned = True
        self._choose_timeout()

    def _choose_timeout(self) -> None:
        seconds = self._idle_timeouts.values()
        if seconds:
            self.idle_timeout_s = 0.0 if 0.0 in seconds else max(seconds)


@dataclass(frozen=True, slots=True)
class EngineReport:
    """What a shared engine process says about itself."""

    pid: int
    model: str
    """Name of the model; the setting, while the model is being looked for or has failed."""
    state: EngineState
    detail: str
    device: str
    """Device and number format; empty until the model is loaded."""
    dtype: str
    memory_bytes: int
    gpu_memory_bytes: int
    clients: int
    idle_s: float
    idle_timeout_s: float


def control_routes(
    engine: LocalEngine, settings: EngineSettings, clients: Clients, activity: Activity
) -> list[Route]:
    """Return the routes with which clients connect, leave, ask for a report, and stop."""

    async def attend(request: Request) -> Response:
        client = _client_id(request)
        clients.connect(client, _idle_timeout(request))

        async def content() -> AsyncIterator[bytes]:
            try:
                yield b"\n"
                await _wait_for_end(request, clients.closing)
            finally:
                clients.disconnect(client)

        return StreamingResponse(content(), media_type="text/plain")

    async def leave(request: Request) -> Response:
        clients.leave(_client_id(request))
        return Response(status_code=204)

    async def report(_: Request) -> Response:
        answer = await _report(engine, settings, clients, activity)
        return JSONResponse(asdict(answer))

    async def stop(_: Request) -> Response:
        clients.is_stopped = True
        return Response(status_code=204)

    return [
        Route("/process/clients/{client}", attend),
        Route("/process/clients/{client}", leave, methods=["DELETE"]),
        Route("/process", report),
        Route("/process", stop, methods=["DELETE"]),
    ]


async def _report(
    engine: LocalEngine, settings: EngineSettings, clients: Clients, activity: Activity
) -> EngineReport:
    health = await engine.health()
    info = await engine.info() if health.state is EngineState.READY else None
    memory, gpu_memory = await asyncio.to_thread(used_memory)
    return EngineReport(
        pid=health.pid or 0,
        model=settings.model if info is None else info.model,
        state=health.state,
        detail="" if info is not None else health.detail,
        device="" if info is None else info.device,
        dtype="" if info is None else info.dtype,
        memory_bytes=memory,
        gpu_memory_bytes=gpu_memory,
        clients=clients.number,
        idle_s=round(activity.idle_seconds, 1),
        idle_timeout_s=clients.idle_timeout_s,
    )


async def _wait_for_end(request: Request, closing: asyncio.Event) -> None:
    """Return when the client has gone, or the process exits."""
    ends = [asyncio.create_task(_wait_for_disconnect(request)), asyncio.create_task(closing.wait())]
    try:
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for end in ends:
            end.cancel()


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _client_id(request: Request) -> str:
    client: str = request.path_params["client"]
    if _CLIENT_ID.fullmatch(client) is None:
        raise Refusal(400, "A client's id has 32 hex digits.", code="invalid_client")
    return client


def _idle_timeout(request: Request) -> float:
    try:
        seconds = float(request.query_params["idle_timeout"])
    except (KeyError, ValueError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise Refusal(400, "idle_timeout must be a number of seconds.", code="invalid_timeout")
    return seconds
