"""Talks to a process until it ends, or until it exceeds a limit."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from sandbox.command import Exceeded, Limits

_TICK = 0.05
"""Seconds between two looks at what the process uses."""
_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True)
class Ending:
    """How a process ended."""

    output: bytes
    """What it wrote, at most `Limits.output_bytes`."""
    timed_out: bool = False
    exceeded: Exceeded | None = None
    """What it had too much of when it was stopped."""
    cancelled: bool = False
    """Whether it was stopped because the caller wanted that."""


def exchange(
    process: subprocess.Popen[bytes],
    stdin: bytes,
    limits: Limits,
    exceeds: Callable[[], bool],
    stop: threading.Event,
) -> Ending:
    """Write `stdin` to a process and read its output until it ends, then kill its group.

    `exceeds` is called several times a second; if it returns True, the process is stopped. So it is
    as soon as `stop` is set.
    """
    try:
        return _exchange(process, stdin, limits, exceeds, stop)
    finally:
        # This is needed after a normal end too, for processes that the program has started.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with suppress(BrokenPipeError):
                if pipe is not None:
                    pipe.close()


def _exchange(
    process: subprocess.Popen[bytes],
    stdin: bytes,
    limits: Limits,
    exceeds: Callable[[], bool],
    stop: threading.Event,
) -> Ending:
    assert process.stdin is not None
    assert process.stdout is not None
    deadline = time.monotonic() + limits.seconds
    next_look = time.monotonic() + _TICK
    pending, output = memoryview(stdin), bytearray()
    with selectors.DefaultSelector() as selector:
        for pipe, event in (
            (process.stdin, selectors.EVENT_WRITE),
            (process.stdout, selectors.EVENT_READ),
        ):
            os.set_blocking(pipe.fileno(), False)
            selector.register(pipe, event)
        while True:
            # All that the process wrote before it ended is in the pipe now.
            has_ended = process.poll() is not None
            ready = _ready(selector, process, 0 if has_ended else _TICK)
            if process.stdin in ready:
                pending = _write_some(process.stdin.fileno(), pending)
                if not pending:
                    selector.unregister(process.stdin)
                    process.stdin.close()
            if process.stdout in ready:
                block = _read_some(process.stdout.fileno())
                output += block
                if len(output) > limits.output_bytes:
                    return Ending(bytes(output[: limits.output_bytes]), exceeded=Exceeded.OUTPUT)
                if not block:
                    selector.unregister(process.stdout)
            elif has_ended:
                return Ending(bytes(output))
            if stop.is_set():
                return Ending(bytes(output), cancelled=True)
            now = time.monotonic()
            if now > deadline:
                return Ending(bytes(output), timed_out=True)
            if now > next_look:
                if exceeds():
                    return Ending(bytes(output), exceeded=Exceeded.USE)
                next_look = time.monotonic() + _TICK


def _ready(
    selector: selectors.BaseSelector, process: subprocess.Popen[bytes], seconds: float
) -> list[object]:
    """Return the pipes that can be read or written. Wait for one, or for the process's end."""
    if selector.get_map():
        return [key.fileobj for key, _ in selector.select(seconds)]
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    return []


def _write_some(pipe: int, data: memoryview) -> memoryview:
    """Write what fits into a pipe, and return the rest; nothing if nobody reads."""
    try:
        return data[os.write(pipe, data[:_BLOCK]) :]
    except BlockingIOError:
        return data
    except BrokenPipeError:
        return data[:0]


def _read_some(pipe: int) -> bytes:
    try:
        return os.read(pipe, _BLOCK)
    except BlockingIOError:
        return b""
