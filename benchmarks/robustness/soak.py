"""Soak: memory, threads, files and child processes while several people use one engine for long."""

from __future__ import annotations

import asyncio
import random
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.robustness.engines import shared_engine
from benchmarks.robustness.processes import Course, take_sample
from benchmarks.robustness.typist import Typist, endless
from fim.evaluation.files import source_files
from fim.evaluation.replay import passages

_NUM_PASSAGES = 200
_PASSAGE_LINES = 12


@dataclass
class SoakResult:
    """What was measured, and what the users did."""

    courses: list[Course]
    """The engine first, then the servers."""
    actions: Counter[str] = field(default_factory=Counter)
    num_unanswered: int = 0
    num_unexpected: int = 0
    num_errors: int = 0


async def soak(
    folder: Path,
    workspace: Path,
    *,
    model: str,
    typists: int,
    seconds: float,
    pace: float = 1.0,
    sample_every_s: float = 2.0,
) -> SoakResult:
    """Let `typists` people work in a copy of `folder` at `workspace` for `seconds` seconds."""
    shutil.copytree(folder, workspace, ignore=shutil.ignore_patterns(".git", "node_modules"))
    drawn = passages(source_files(workspace), _NUM_PASSAGES, _PASSAGE_LINES, 0)
    async with shared_engine(typists, model, workspace) as shared:
        (engine,) = shared.processes()
        pids = [engine.pid, *(editor.process.pid for editor in shared.editors)]
        names = ["engine", *(f"server {number + 1}" for number in range(typists))]
        result = SoakResult([Course(name) for name in names])
        users = []
        for number, editor in enumerate(shared.editors):
            rng = random.Random(number)
            users.append(Typist(editor, endless(drawn, rng), rng, pace))
        sampling = asyncio.create_task(_sample(result.courses, pids, sample_every_s))
        end = asyncio.get_running_loop().time() + seconds
        await asyncio.gather(*(user.work(end) for user in users))
        sampling.cancel()
        await asyncio.gather(sampling, return_exceptions=True)
    for user in users:
        result.actions += user.actions
        result.num_unanswered += user.num_unanswered
        result.num_unexpected += user.editor.num_unexpected
        result.num_errors += user.num_errors
    return result


async def _sample(courses: Sequence[Course], pids: Sequence[int], every_s: float) -> None:
    started = time.monotonic()
    processes = [psutil.Process(pid) for pid in pids]
    while True:
        for course, process in zip(courses, processes, strict=True):
            course.samples.append(await asyncio.to_thread(take_sample, process, started))
        await asyncio.sleep(every_s)
