"""Decoding steps that are recorded once as CUDA graphs and replayed.

A step of a large model consists of hundreds of small operations. Launching each of them from Python
takes longer than a GPU takes to compute it. A graph launches all of them with one call. It refers
to fixed addresses, so KV caches lie in an arena and inputs in one tensor
(`engine.network.static_step`).

Recording all buckets of a model takes some seconds. Buckets are recorded one at a time while the
engine is idle, those that steps needed most often first. Until its bucket is recorded a step runs
the same operations one by one. On a CPU nothing is recorded, and tests run the same code.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

import torch
from torch import Tensor

from engine.kv_cache.arena import Arena
from engine.network.batch import DECODE_ROWS, BatchEntry, Bucket
from engine.network.static_step import StaticStep, all_buckets
from engine.network.weights import Weights

log = logging.getLogger(__name__)

Run = Callable[[], None]
Record = Callable[[Run], Run]
"""A function that records a run, and returns a function that replays it with current inputs."""

_NUM_WARM_UPS = 2
"""Number of runs before recording, in which libraries load code, choose algorithms and allocate."""

_RECORD_AFTER_MISSES = 32
"""Number of steps without a recording after which a bucket is recorded even if the engine is never
idle."""


class CudaGraphRunner:
    """Computes steps of few rows and replays those that are recorded."""

    def __init__(self, weights: Weights, arena: Arena, record: Record | None) -> None:
        """Create a runner; with `record` None all steps run operation by operation."""
        self.step = StaticStep(weights, arena)
        """The step with static shapes that is recorded."""
        self._record = record
        self.recorded: dict[Bucket, Run] = {}
        """The functions that replay the recorded buckets."""
        # The largest first: its memory is large enough for the others.
        self._unrecorded = all_buckets(arena.shape.capacity)[::-1] if record else []
        self._misses: Counter[Bucket] = Counter()

    @property
    def num_unrecorded(self) -> int:
        """Number of buckets that are still to be recorded."""
        return len(self._unrecorded)

    @staticmethod
    def supports(entries: Sequence[BatchEntry]) -> bool:
        """Return whether the entries can be computed in one step of this kind."""
        return sum(len(entry.ids) for entry in entries) <= DECODE_ROWS and all(
            entry.cache.slot is not None and entry.adapter is None for entry in entries
        )

    def __call__(self, entries: Sequence[BatchEntry]) -> list[Tensor]:
        """Write the rows of each entry and return its logits; see `Forward`."""
        bucket = self.step.set_inputs(entries)
        replay = self.recorded.get(bucket)
        if replay is None:
            self.step.compute(bucket)
        else:
            replay()
        sizes = [len(entry.ids) for entry in entries]
        logits = torch.split(self.step.logits(sum(sizes)), sizes)
        if bucket in self._unrecorded:
            self._misses[bucket] += 1
            if self._misses[bucket] == _RECORD_AFTER_MISSES:
                self._record_bucket(bucket)
        return [
            rows[len(rows) - entry.num_logits :]
            for entry, rows in zip(entries, logits, strict=True)
        ]

    def prepare(self) -> bool:
        """Record one bucket, which takes some tens of milliseconds.

        Returns whether more buckets are to be recorded.
        """
        if self._unrecorded:
            self._record_bucket(max(self._unrecorded, key=lambda bucket: self._misses[bucket]))
        return bool(self._unrecorded)

    def _record_bucket(self, bucket: Bucket) -> None:
        assert self._record is not None
        self._unrecorded.remove(bucket)
        try:
            self.step.set_inputs(())  # padding only: no KV cache is written
            self.recorded[bucket] = self._record(partial(self.step.compute, bucket))
        except Exception as error:
            log.warning("CUDA graphs cannot be recorded; decoding will be slower: %s", error)
            self._unrecorded.clear()


class CudaRecorder:
    """A `Record` for the current CUDA device. Its recordings must run one after the other.

    It uses `torch.cuda.CUDAGraph` and not `torch.cuda.graph`, because the latter stays on its
    stream if recording fails.
    """

    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._memory = torch.cuda.graph_pool_handle()
        self._graphs: list[torch.cuda.CUDAGraph] = []

    def __call__(self, run: Run) -> Run:
        """Record a run; see `Record`. The result must be called in the recording thread."""
        graph = torch.cuda.CUDAGraph()
        # A deleted graph frees cuBLAS's workspace, to which the other graphs of this stream still
        # write (https://github.com/pytorch/pytorch/issues/193402). So none is deleted.
        self._graphs.append(graph)
        torch.cuda.synchronize()
        with torch.cuda.stream(self._stream):
            for _ in range(_NUM_WARM_UPS):
                run()
            self._stream.synchronize()
            torch.cuda.empty_cache()  # a graph has its own memory and does not use the warm-ups'
            # Other threads may use the device meanwhile, for example to read an adapter.
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


def graph_runner(weights: Weights, arena: Arena) -> CudaGraphRunner:
    """Return a runner that records its steps if the model lies on a CUDA device."""
    is_cuda = weights.device.type == "cuda"
    return CudaGraphRunner(weights, arena, CudaRecorder() if is_cuda else None)
