"""Editors that share one engine in a runtime directory of their own, and the processes in it."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx2
import psutil

from benchmarks.engine_metrics import engine_values
from benchmarks.light_editor import LightEditor, light_editor
from benchmarks.robustness.processes import engines_in
from engine.client.endpoint import RuntimeFiles
from engine.settings import EngineSettings

SETTINGS = {"eagerness": "eager", "relatedFiles": "always"}
"""Settings with which the server does more work than by default."""
_EXIT_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Metrics:
    """The engine's metrics that show whether it is idle."""

    computed_tokens: int
    requests_running: int
    requests_waiting: int
    caches_in_use: int

    @property
    def is_idle(self) -> bool:
        """Whether no request runs or waits, and none holds a KV cache."""
        return not (self.requests_running or self.requests_waiting or self.caches_in_use)


@dataclass
class SharedEngine:
    """The editors, and the directory in which their engine listens."""

    editors: list[LightEditor]
    model: str
    runtime: Path

    def processes(self) -> list[psutil.Process]:
        """Return every engine process of these editors."""
        return engines_in(self.runtime)

    def kill(self) -> int:
        """Kill the engine as the kernel does when memory runs out; return how many there were."""
        processes = self.processes()
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        deadline = time.monotonic() + _EXIT_TIMEOUT_S
        while self.processes() and time.monotonic() < deadline:
            time.sleep(0.005)  # not `wait`: its parent may keep it as a zombie
        return len(processes)

    async def metrics(self) -> Metrics:
        """Read the engine's metrics."""
        endpoint = RuntimeFiles.for_settings(EngineSettings(model=self.model)).resolved().endpoint()
        assert endpoint is not None
        transport = httpx2.AsyncHTTPTransport(uds=str(endpoint.uds))
        async with httpx2.AsyncClient(transport=transport, base_url=endpoint.url) as client:
            values = engine_values((await client.get("/metrics")).text)
        return Metrics(
            computed_tokens=values["starcoder_computed_tokens_total"],
            requests_running=values["starcoder_num_requests_running"],
            requests_waiting=values["starcoder_num_requests_waiting"],
            caches_in_use=values["starcoder_kv_caches_in_use"],
        )


@asynccontextmanager
async def shared_engine(
    count: int, model: str, folder: Path | None = None
) -> AsyncIterator[SharedEngine]:
    """Start editors that share one engine, which ends with the block.

    The runtime directory is that of the environment (`STARCODER_LSP_RUNTIME_DIR`), which must be
    used by nothing else.
    """
    runtime = Path(os.environ["STARCODER_LSP_RUNTIME_DIR"])
    shared = SharedEngine([], model, runtime)
    settings = {**SETTINGS, "model": model}
    try:
        async with AsyncExitStack() as stack:
            for _ in range(count):
                shared.editors.append(
                    await stack.enter_async_context(light_editor(settings, folder))
                )
            for editor in shared.editors:
                await editor.wait_until_ready()
            yield shared
    finally:
        shared.kill()
