"""Soak: memory, threads, files and child processes while several people use one engine for long."""

from __future__ import annotations

import asyncio
import random
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.light_editor import LightEditor, light_editor
from benchmarks.robustness.processes import Course, take_sample
from benchmarks.robustness.typist import Typist, endless
from engine.client.managed import ManagedEngine
from engine.settings import EngineSettings
from fim.evaluation.files import source_files
from fim.evaluation.replay import passages

_NUM_PASSAGES = 200
_PASSAGE_LINES = 12
SETTINGS = {"eagerness": "eager", "relatedFiles": "always"}
"""Settings with which the server does more work than by default."""


@dataclass
class SoakResult:
    """What was measured, and what the users did."""

    courses: list[Course]
    """The engine first, then the servers."""
    actions: Counter[str] = field(default_factory=Counter)
    num_unanswered: int = 0
    num_unexpected: int = 0
    num_errors: int = 0


@asynccontextmanager
async def editors(
    count: int, model: str, folder: Path | None = None
) -> AsyncIterator[tuple[list[LightEditor], int]]:
    """Start editors that share one engine; yields them and the engine's process id.

    The caller must have set the runtime directory to one of its own. The engine ends with the
    block.
    """
    settings = {**SETTINGS, "model": model}
    engine = ManagedEngine(EngineSettings(model=model))
    async with AsyncExitStack() as stack:
        started = [
            await stack.enter_async_context(light_editor(settings, folder)) for _ in range(count)
        ]
        for editor in started:
            await editor.wait_until_ready()
        pid = (await engine.health()).pid
        assert pid is not None
        yield started, pid
        pid = (await engine.health()).pid
        await engine.aclose()
    if pid is not None:
        psutil.Process(pid).terminate()


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
    async with editors(typists, model, workspace) as (started, engine_pid):
        pids = [engine_pid, *(editor.process.pid for editor in started)]
        names = ["engine", *(f"server {number + 1}" for number in range(typists))]
        result = SoakResult([Course(name) for name in names])
        users = []
        for number, editor in enumerate(started):
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
