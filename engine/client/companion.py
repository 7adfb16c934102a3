"""The other engine of a user, which needs memory too: one for completions, one for chat."""

from __future__ import annotations

import asyncio
import time

from engine.api import EngineState, Health
from engine.client.endpoint import RuntimeFiles
from engine.client.http import HttpEngine
from engine.settings import EngineSettings

MAX_WAIT_S = 30.0
"""Seconds for which an engine's start waits until its companion has loaded its model.

While a model is being loaded, the free memory says nothing about what will be left.
"""
_POLL_SECONDS = 0.1


async def model_to_reserve_for(companion: EngineSettings, unix: bool | None) -> str | None:
    """Return the model for which a new engine must leave memory free; None if there is none.

    A companion that holds its model has taken its memory already, and one that failed needs none.
    One that is loading is given `MAX_WAIT_S` to finish.
    """
    deadline = time.monotonic() + MAX_WAIT_S
    while True:
        health = await health_of(companion, unix)
        is_loading = health.state in (EngineState.STARTING, EngineState.LOADING)
        if health.pid is None or (is_loading and time.monotonic() > deadline):
            return companion.model
        if not is_loading:
            return None
        await asyncio.sleep(_POLL_SECONDS)


async def health_of(settings: EngineSettings, unix: bool | None) -> Health:
    """Return the health of the engine process for these settings, without a pid if none answers."""
    files = await asyncio.to_thread(RuntimeFiles.for_settings, settings, unix=unix)
    endpoint = await asyncio.to_thread(lambda: files.resolved().endpoint())
    if endpoint is None:
        return Health(EngineState.STARTING)
    engine = HttpEngine(endpoint)
    try:
        return await engine.health()
    finally:
        await engine.aclose()
