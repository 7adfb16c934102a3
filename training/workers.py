"""Worker processes that make chunks ahead of the training loop, and hand them over as files."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Protocol

import numpy as np

from training.blocks import write_blocks
from training.chunks import CHUNK_BYTES, ChunkMaker
from training.packing import Rows
from training.recipe import Stage

CHUNKS_AHEAD = 8
"""Chunks per worker that wait to be read, for the current stage and each later one."""

_POLL_SECONDS = 0.02
_DONE = 1 << 40


class RowSource(Protocol):
    """A source of training sequences, in numbered chunks."""

    def chunk(self, stage: int, number: int) -> Rows:
        """Return a chunk of a stage; chunks are read in order, but may start at any number."""
        ...


@dataclass(frozen=True, slots=True)
class ChunkSettings:
    """What the chunks of a run depend on."""

    corpus: Path
    """Folder with the corpus and its tokenizer."""
    blocks: Path
    """Folder for the blocks of the corpus."""
    stages: Sequence[Stage]
    length: int
    """Tokens of a sequence."""
    seed: int
    chunk_bytes: int = CHUNK_BYTES

    def maker(self) -> ChunkMaker:
        """Return a maker of the chunks."""
        return ChunkMaker(
            self.corpus, self.blocks, self.stages, self.length, self.seed, self.chunk_bytes
        )


class _Positions(Protocol):
    """The number of the chunk that is read next, by stage; shared by all processes."""

    def __getitem__(self, stage: int) -> int: ...
    def __setitem__(self, stage: int, number: int) -> None: ...


class ChunkWorkers:
    """A source whose chunks are made by worker processes; without any, in this process.

    Worker i of n makes the chunks i, i + n and so on. The chunks of a later stage are made ahead
    too, so that none is missing when that stage starts.
    """

    def __init__(
        self,
        settings: ChunkSettings,
        folder: Path,
        num_workers: int,
        say: Callable[[str], None] = print,
    ) -> None:
        """Start the workers, which write to `folder`; its earlier chunks are deleted."""
        self.wait_seconds = 0.0
        self._settings, self._folder, self._say = settings, folder, say
        self._maker: ChunkMaker | None = None
        write_blocks(settings.corpus, settings.blocks, num_workers)
        folder.mkdir(parents=True, exist_ok=True)
        for file in folder.glob("chunk-*"):
            file.unlink()
        context = get_context("spawn")
        self._positions: _Positions = context.Array("q", len(settings.stages), lock=False)
        self._processes: list[SpawnProcess] = []
        for number in range(num_workers):
            arguments = (settings, folder, number, num_workers, self._positions, os.getpid())
            process = context.Process(target=_work, args=arguments, daemon=True)
            process.start()
            self._processes.append(process)

    def chunk(self, stage: int, number: int) -> Rows:
        """Return a chunk, and wait until it is made; if its worker has died, make it here."""
        for earlier in range(stage):
            self._positions[earlier] = _DONE
        self._positions[stage] = number
        started = time.monotonic()
        file = _chunk_file(self._folder, stage, number)
        while not file.exists():
            if not self._is_alive(number):
                return self._make_here(stage, number)
            time.sleep(_POLL_SECONDS)
        self.wait_seconds += time.monotonic() - started
        rows: Rows = np.load(file)
        file.unlink()
        return rows

    def close(self) -> None:
        """End the workers."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join()

    def _is_alive(self, number: int) -> bool:
        if not self._processes:
            return False
        return self._processes[number % len(self._processes)].is_alive()

    def _make_here(self, stage: int, number: int) -> Rows:
        if self._maker is None:
            if self._processes:
                self._say("a worker has ended; its chunks are made by the training process")
            self._maker = self._settings.maker()
        return self._maker.make(stage, number)


def _chunk_file(folder: Path, stage: int, number: int) -> Path:
    return folder / f"chunk-{stage}-{number}.npy"


def _work(
    settings: ChunkSettings,
    folder: Path,
    worker: int,
    num_workers: int,
    positions: _Positions,
    parent: int,
) -> None:
    """Make the chunks of a worker until the parent process ends."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    maker = settings.maker()
    following = [worker] * len(settings.stages)
    while os.getppid() == parent:
        for stage in range(len(settings.stages)):
            first = positions[stage]
            if following[stage] < first < _DONE:
                following[stage] += -(-(first - following[stage]) // num_workers) * num_workers
            if first <= following[stage] < first + CHUNKS_AHEAD * num_workers:
                _save(maker.make(stage, following[stage]), folder, stage, following[stage])
                following[stage] += num_workers
                break
        else:
            time.sleep(_POLL_SECONDS)


def _save(rows: Rows, folder: Path, stage: int, number: int) -> None:
    file = _chunk_file(folder, stage, number)
    partial = file.with_suffix(".partial")
    with partial.open("wb") as target:
        np.save(target, rows)
    os.replace(partial, file)
