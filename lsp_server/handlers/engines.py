"""`starcoder/engines` and `starcoder/stopEngine`: the user's engine processes on this machine."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from engine.client.running import RunningEngine, running_engines, stop_engine
from engine.errors import ConfigurationError
from lsp_server.session.protocol import NoParams, Params
from lsp_server.session.server import StarcoderServer


class StopEngineParams(Params):
    """One engine process."""

    pid: int = Field(gt=0, strict=True)
    """Its process id, as `starcoder/engines` reports it."""


async def list_engines(server: StarcoderServer, _: NoParams) -> list[dict[str, Any]]:
    """Return the engine processes of the user, oldest first."""
    own = {(await server.engine.current.health()).pid}
    if (chat_engine := server.chat_engine.own) is not None:
        own.add((await chat_engine.health()).pid)
    return [_payload(engine, is_current=engine.pid in own) for engine in await running_engines()]


async def stop(_: StarcoderServer, params: StopEngineParams) -> dict[str, Any]:
    """Stop one engine process; the next request that needs it starts it again."""
    for engine in await running_engines():
        if engine.pid == params.pid:
            await stop_engine(engine)
            return {"stopped": True}
    raise ConfigurationError(f"No engine of yours has the process id {params.pid}.")


def _payload(engine: RunningEngine, *, is_current: bool) -> dict[str, Any]:
    return {
        "pid": engine.pid,
        "model": engine.model,
        "state": engine.state,
        "detail": engine.detail,
        "device": engine.device,
        "dtype": engine.dtype,
        "memoryBytes": engine.memory_bytes,
        "gpuMemoryBytes": engine.gpu_memory_bytes,
        "clients": engine.clients,
        "idleSeconds": engine.idle_s,
        "idleTimeoutSeconds": engine.idle_timeout_s,
        "address": engine.address,
        "current": is_current,
    }
