"""Runs programs that a model has written parts of, with limits and isolated from the machine.

An isolated program starts with an empty root. It sees the system's programs and libraries, the
interpreter, the folders in `Sandbox.readable`, a few harmless devices, and one private folder, the
only one in which it can write. docs/evaluation.md says what it can and cannot do.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType

from engine.errors import ConfigurationError
from sandbox.backends import Backend, launcher, started_with
from sandbox.command import (
    NOBODY,
    PRIVATE_FOLDER,
    Command,
    Limits,
    Outcome,
    Result,
)
from sandbox.exchange import Ending, exchange
from sandbox.layout import DEVICES, Layout, layout_for
from sandbox.seccomp import has_filter
from sandbox.watchdog import exceeds

_BY_PREFERENCE = (Backend.BUBBLEWRAP, Backend.OWN)
_PYTHON = (sys.executable, "-I", "-B", "-")


@dataclass(frozen=True, slots=True)
class Sandbox:
    """Runs programs; safe to use from several threads, which must not end during a run."""

    backend: Backend
    limits: Limits = field(default_factory=Limits)
    readable: tuple[Path, ...] = ()
    """Files and folders that an isolated program may read, besides those that all programs need."""
    overlays: Mapping[Path, Path] = field(default_factory=lambda: MappingProxyType({}))
    """Paths below `readable`, and the files that an isolated program sees there instead."""
    _layout: Layout | None = None

    def prepared(self) -> Sandbox:
        """Return the same sandbox for several runs, so that folders are searched only once.

        What is added to the readable folders afterwards may be missing in the runs.
        Raises ConfigurationError if one of the paths cannot be shown.
        """
        return replace(self, _layout=layout_for(self.readable, self.overlays))

    def run(self, program: str) -> Outcome:
        """Run a Python program.

        It passes only if its last line is reached, so a program that exits early fails.
        """
        mark = secrets.token_hex(16)
        marked = f"{program}\n\nprint('\\n' + {mark!r})\n"
        result = self.run_command(Command(_PYTHON, marked.encode("utf-8", "replace")))
        if result.outcome is Outcome.PASSED and mark.encode() not in result.output:
            return Outcome.FAILED
        return result.outcome

    def run_command(self, command: Command, stop: threading.Event | None = None) -> Result:
        """Run a command and wait for its end. It is killed as soon as `stop` is set.

        Raises ConfigurationError if it could not be started in isolation. Then nothing has run.
        """
        mark = secrets.token_hex(16)
        with ExitStack() as stack:
            folder, is_isolated = PRIVATE_FOLDER, self.backend is not Backend.NONE
            arguments, inherited = launcher(), tuple[int, ...]()
            try:
                if is_isolated:
                    layout = self._layout or layout_for(self.readable, self.overlays)
                    started = started_with(self.backend, layout, self.limits)
                    arguments, inherited = stack.enter_context(started)
                else:
                    folder = stack.enter_context(tempfile.TemporaryDirectory())
                process = _start(arguments, inherited)
            except OSError as error:  # for example, bubblewrap is no longer installed
                raise ConfigurationError(str(error)) from None
            ending = exchange(
                process,
                _start_message(command, self.limits, folder, mark, is_isolated=is_isolated),
                self.limits,
                lambda: is_isolated and exceeds(process.pid, self.limits),
                stop or threading.Event(),
            )
        return _result(ending, process.returncode, mark.encode() + b"\n")


def _start(arguments: list[str], inherited: tuple[int, ...]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        arguments,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd="/",
        env={},
        start_new_session=True,
        pass_fds=inherited,
    )


def _start_message(
    command: Command, limits: Limits, private: str, mark: str, *, is_isolated: bool
) -> bytes:
    """Return what the launcher reads: never in arguments, which every user can read."""
    start = {
        "limits": limits.rlimits(),
        "uid": NOBODY if is_isolated else None,
        "writable": [private, *DEVICES] if is_isolated else None,
        "mark": mark,
        "command": command.arguments,
        "environment": {**command.environment, "HOME": private, "TMPDIR": private},
        "folder": os.fspath(command.folder or private),
    }
    data = json.dumps(start).encode()
    return len(data).to_bytes(8, "big") + data + command.stdin


def _result(ending: Ending, status: int, mark: bytes) -> Result:
    before, was_started, output = ending.output.partition(mark)
    if ending.timed_out or ending.cancelled:
        outcome = Outcome.TIMED_OUT if ending.timed_out else Outcome.CANCELLED
        return Result(outcome, status, output)
    if not was_started:
        lines = before.decode("utf-8", "replace").strip().splitlines()
        reason = lines[-1] if lines else f"it ended with status {status}"
        raise ConfigurationError(f"The sandbox could not be started: {reason}")
    passed = status == 0 and ending.exceeded is None
    return Result(Outcome.PASSED if passed else Outcome.FAILED, status, output, ending.exceeded)


@cache
def backend_problem(backend: Backend) -> str | None:
    """Return why a backend cannot isolate programs on this machine, None if it can."""
    if sys.platform != "linux":
        return "isolation is only available on Linux"
    if not has_filter():
        return "there is no filter of system calls for this processor"
    try:
        outcome = Sandbox(backend).run("")
    except (ConfigurationError, OSError) as error:
        return str(error)
    return None if outcome is Outcome.PASSED else f"an empty program {outcome}"


def isolation_problem() -> str | None:
    """Return why programs cannot be isolated on this machine, None if they can be."""
    problems = []
    for backend in _BY_PREFERENCE:
        if (problem := backend_problem(backend)) is None:
            return None
        problems.append(f"{backend}: {problem}")
    return "; ".join(problems)


def make_sandbox(*, unsandboxed: bool = False) -> Sandbox:
    """Return a sandbox with isolation, or one with limits only if `unsandboxed` is True.

    Raises ConfigurationError if programs cannot be isolated, or have no limits on this system.
    """
    if unsandboxed:
        if sys.platform == "win32":
            raise ConfigurationError("Programs have no limits on Windows.")
        return Sandbox(Backend.NONE)
    for backend in _BY_PREFERENCE:
        if backend_problem(backend) is None:
            return Sandbox(backend)
    raise ConfigurationError(f"Programs cannot be isolated here: {isolation_problem()}.")
