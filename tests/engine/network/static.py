"""Models that compute with static steps, on the device of the model."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from benchmarks.stepped_scheduler import finish_preparing
from engine.kv_cache.arena import Arena
from engine.network.cuda_graphs import CudaGraphRunner, CudaRecorder, Record
from engine.network.lean_forward import LeanForward
from engine.network.model import LoadedModel

WINDOW = 700
SLOTS = 6


def recorder(device: str) -> Record:
    return CudaRecorder() if device == "cuda" else run_without_recording


def run_without_recording(run: Callable[[], None]) -> Callable[[], None]:
    """Record nothing, but run once, as recording does."""
    run()
    return run


@dataclass(frozen=True)
class StaticModel:
    """A model with an arena and static steps."""

    model: LoadedModel
    arena: Arena
    graphs: CudaGraphRunner

    def record_all(self) -> None:
        with torch.inference_mode():
            finish_preparing(self.model.forward)
        assert self.graphs.num_unrecorded == 0


def with_static_steps(
    model: LoadedModel, num_slots: int = SLOTS, record: Record | None = None
) -> StaticModel:
    """Return a model with an arena full of NaN and with steps that are not recorded yet."""
    assert isinstance(model.forward, LeanForward)
    weights = model.forward.weights
    arena = Arena(model.cache_shape, num_slots)
    arena.rows[..., : arena.zero_row, :] = torch.nan
    arena.rows[..., arena.scratch_row, :] = torch.nan
    forward = LeanForward(weights, None, arena)
    graphs = CudaGraphRunner(weights, arena, record or recorder(weights.device.type))
    forward.graphs = graphs
    return StaticModel(replace(model, forward=forward, arena=arena), arena, graphs)
