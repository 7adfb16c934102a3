"""Decoding steps that are recorded once and replayed: CUDA graphs.

A step of a large model is hundreds of small operations, and to launch each from Python takes longer
than a GPU takes to compute it. A graph launches all of them at once. It knows addresses alone, so
caches lie in an arena and inputs in one tensor (`engine.network.static_step`).

All of a model's buckets take some seconds to record. That is done one at a time while nobody
waits, those that steps asked for in vain first; until then a step runs operation by operation, the
same ones. On a CPU nothing is recorded, and the same code runs in tests.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

import torch
from torch import Tensor

from engine.decoding.sequence import Part
from engine.kv_cache.arena import Arena
from engine.network.static_step import MOST_ROWS, Bucket, StaticStep, buckets
from engine.network.weights import Weights

log = logging.getLogger(__name__)

Run = Callable[[], None]
Record = Callable[[Run], Run]
"""Returns what does again what a function did, with whatever is in its tensors then."""

_WARM_UPS = 2
"""Runs before recording: libraries load code, choose algorithms and take their memory."""

_PATIENCE = 32
"""Steps that a bucket is waited for by who is never idle."""


class RecordedSteps:
    """Computes steps of a few rows; replays those that are recorded."""

    def __init__(self, weights: Weights, arena: Arena, record: Record | None) -> None:
        """With no `record`, steps always run operation by operation."""
        self._step, self._record = StaticStep(weights, arena), record
        self._recorded: dict[Bucket, Run] = {}
        # The largest first: the others fit the memory that it took.
        self._left = buckets(arena.shape.capacity)[::-1] if record else []
        self._missed: Counter[Bucket] = Counter()

    @property
    def left(self) -> int:
        """How many buckets are still to be recorded."""
        return len(self._left)

    @staticmethod
    def fits(parts: Sequence[Part]) -> bool:
        """Whether parts can be computed in one step of this kind."""
        return sum(len(part.ids) for part in parts) <= MOST_ROWS and all(
            part.cache.slot is not None and part.cache.adapter is None for part in parts
        )

    def __call__(self, parts: Sequence[Part]) -> list[Tensor]:
        """Write the rows of each part and return its logits, as
        `engine.network.lean_forward.Forward`."""
        bucket = self._step.put(parts)
        replay = self._recorded.get(bucket)
        if replay is None:
            self._step.compute(bucket)
        else:
            replay()
        sizes = [len(part.ids) for part in parts]
        found = torch.split(self._step.logits(sum(sizes)), sizes)
        if bucket in self._left:
            self._missed[bucket] += 1
            if self._missed[bucket] == _PATIENCE:
                self._record_one(bucket)
        return [rows[len(rows) - part.last :] for part, rows in zip(parts, found, strict=True)]

    def prepare(self) -> bool:
        """Record one bucket, which takes some tens of milliseconds; whether more are left."""
        if self._left:
            self._record_one(max(self._left, key=lambda bucket: self._missed[bucket]))
        return bool(self._left)

    def _record_one(self, bucket: Bucket) -> None:
        assert self._record is not None
        self._left.remove(bucket)
        try:
            self._step.put(())  # runs on padding alone: no cache is touched
            self._recorded[bucket] = self._record(partial(self._step.compute, bucket))
        except Exception as error:
            log.warning("CUDA graphs cannot be recorded; decoding will be slower: %s", error)
            self._left.clear()


class CudaRecorder:
    """A `Record` for the current CUDA device. All that it records runs one after the other.

    Made of `torch.cuda.CUDAGraph` rather than `torch.cuda.graph`, which stays on its stream if
    recording fails.
    """

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._memory = torch.cuda.graph_pool_handle()
        self._graphs: list[torch.cuda.CUDAGraph] = []

    def __call__(self, run: Run) -> Run:
        """See `Record`. The result is of use in the thread that calls this."""
        graph = torch.cuda.CUDAGraph()
        # One that goes takes cuBLAS's workspace with it, which the others on this stream still
        # write to (https://github.com/pytorch/pytorch/issues/193402): none goes, failed ones too.
        self._graphs.append(graph)
        torch.cuda.synchronize()
        with torch.cuda.stream(self._stream):
            for _ in range(_WARM_UPS):
                run()
            self._stream.synchronize()
            torch.cuda.empty_cache()  # a graph has memory of its own, not what the warm-ups took
            # Other threads may go on using the device: an adapter is read in one.
            graph.capture_begin(pool=self._memory, capture_error_mode="thread_local")
            try:
                run()
            except BaseException:
                with suppress(RuntimeError):
                    graph.capture_end()
                raise
            graph.capture_end()
        torch.cuda.current_stream().wait_stream(self._stream)
        return graph.replay


def recorded_steps(weights: Weights, arena: Arena) -> RecordedSteps:
    """Return the steps of a model, to be recorded where its device can do that."""
    on_gpu = weights.device.type == "cuda"
    return RecordedSteps(weights, arena, CudaRecorder() if on_gpu else None)
