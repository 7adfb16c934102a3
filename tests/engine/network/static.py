"""Models that compute by static steps, on whatever device there is."""

from collections.abc import Callable
from dataclasses import replace

import torch

from engine.kv_cache.arena import Arena
from engine.loading.load import Loaded
from engine.network.cuda_graphs import CudaRecorder, Record, RecordedSteps
from engine.network.lean_forward import LeanForward

WINDOW = 700
SLOTS = 6


def recorder(device: str) -> Record:
    return CudaRecorder() if device == "cuda" else as_it_is


def as_it_is(run: Callable[[], None]) -> Callable[[], None]:
    """Record nothing, but run as recording does."""
    run()
    return run


def with_steps(held: Loaded, slots: int = SLOTS, record: Record | None = None) -> Loaded:
    """The model with an arena of so many slots, full of NaN, and steps to be recorded."""
    forward = held.decoder.forward
    assert isinstance(forward, LeanForward)
    arena = Arena(held.cache_shape, slots)
    arena.rows[:, :, : arena.zero_row] = torch.nan
    arena.rows[:, :, arena.scratch_row] = torch.nan
    made = LeanForward(forward.weights, arena)
    made._threads = 0  # a model so small is not shared out
    made.steps = RecordedSteps(
        forward.weights, arena, record or recorder(forward.weights.device.type)
    )
    return replace(held, decoder=replace(held.decoder, forward=made), arena=arena)


def steps_of(held: Loaded) -> RecordedSteps:
    forward = held.decoder.forward
    assert isinstance(forward, LeanForward)
    assert forward.steps is not None
    return forward.steps
