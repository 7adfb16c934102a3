"""Runs code blocks of answers in the sandbox, if the user has agreed."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

from chat.attachments import CodeBlock
from chat.running.languages import Runner, runner_of
from chat.running.output import MAX_FIGURE_BYTES, MAX_FIGURES, MAX_TEXT, split_output
from engine.errors import RequestError
from sandbox.cancellable import run_cancellable
from sandbox.command import Command, Exceeded, Limits, Outcome, Result
from sandbox.layout import contains_home
from sandbox.sandbox import Sandbox, make_sandbox

MayRun = Callable[[Path | None, str], Awaitable[bool]]
"""Asks the user whether something may run in a folder."""

LIMITS = Limits(
    seconds=30,
    cpu_seconds=600,  # of all threads together
    # Node and numeric libraries reserve much more address space than they use.
    memory_bytes=1 << 44,
    total_memory_bytes=2 << 30,
    open_files=256,
    processes=256,  # which counts threads
    output_bytes=MAX_FIGURES * MAX_FIGURE_BYTES + 16 * MAX_TEXT,
)
_MAX_AT_ONCE = 2
_WHAT = "code from the chat"


@dataclass(frozen=True, slots=True)
class CodeRun:
    """What came out of a code block."""

    outcome: Outcome
    status: int
    """The exit status; 128 plus the number of a signal, or a negative number, after a signal."""
    output: str
    """What it wrote to stdout and stderr, and why it was stopped."""
    figures: tuple[bytes, ...]
    """PNG pictures."""
    seconds: float


class CodeRuns:
    """Runs code blocks for one client."""

    def __init__(self, may_run: MayRun, limits: Limits = LIMITS) -> None:
        self._may_run = may_run
        self._limits = limits
        self._free = asyncio.Semaphore(_MAX_AT_ONCE)
        self._running: set[asyncio.Task[CodeRun]] = set()

    async def run(self, block: CodeBlock, folder: Path | None) -> CodeRun:
        """Run a code block in a project's folder. Cancelling the task kills all its processes.

        Raises RequestError if the language cannot be run or the user has not agreed, and
        ConfigurationError if nothing can be isolated on this machine. Then nothing has run.
        """
        runner = runner_of(block.language)
        if runner is None:
            raise RequestError(
                f"Code in {block.language or 'an unnamed language'} cannot be run here, only "
                "Python and JavaScript."
            )
        mark = secrets.token_hex(16)
        prepared = await asyncio.to_thread(_prepare, runner, block.text, mark, folder, self._limits)
        if not await self._may_run(folder, _WHAT):
            raise RequestError("Nothing was run: code may not run in this workspace (runTests).")
        task = asyncio.create_task(self._run(*prepared, mark))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await task

    def stop_all(self) -> None:
        """Kill all programs that are running."""
        for task in self._running:
            task.cancel()

    async def _run(self, sandbox: Sandbox, command: Command, mark: str) -> CodeRun:
        async with self._free:
            started = time.monotonic()
            result = await run_cancellable(sandbox, command)
            seconds = time.monotonic() - started
        text, figures = await asyncio.to_thread(split_output, result.output, mark)
        notes = [note for note in (text, self._why_stopped(result)) if note]
        return CodeRun(result.outcome, result.status, "\n".join(notes), figures, seconds)

    def _why_stopped(self, result: Result) -> str:
        limits = self._limits
        if result.outcome is Outcome.TIMED_OUT:
            return f"[Stopped after {limits.seconds:g} seconds.]"
        if result.exceeded is Exceeded.OUTPUT:
            return f"[Stopped: it wrote more than {limits.output_bytes >> 20} MB.]"
        if result.exceeded is Exceeded.USE:
            memory = limits.total_memory_bytes / (1 << 30)
            return f"[Stopped: it used more than {memory:g} GB of memory, or too many files.]"
        return ""


def _prepare(
    runner: Runner, code: str, mark: str, folder: Path | None, limits: Limits
) -> tuple[Sandbox, Command]:
    if folder is not None and contains_home(folder):
        folder = None  # it has much more than a project
    interpreter, command = runner(code, mark, folder)
    readable = (*interpreter.readable, *([] if folder is None else [folder]))
    return replace(make_sandbox(), limits=limits, readable=readable), command
