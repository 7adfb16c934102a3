"""Runs the tests of a program that a model wrote a part of: with limits, cut off from the machine.

What isolates is in `fim.evaluation.sandbox_child`. It is no virtual machine: what the user may
read, the
program may read, but it can neither send nor change anything.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

from engine.errors import ConfigurationError

_JAIL = Path(__file__).with_name("sandbox_child.py")


class Outcome(StrEnum):
    """How a program ended."""

    PASSED = "passed"
    """It came to its end."""
    FAILED = "failed"
    TIMED_OUT = "timed out"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a program may take; each process of it, where the system counts so."""

    seconds: float = 10.0
    """Of time passed, for all of it."""
    cpu_seconds: int = 10
    memory_bytes: int = 1 << 30
    file_bytes: int = 16 << 20
    open_files: int = 64
    processes: int = 32
    """Linux does not count those of a user who is root."""

    def rlimits(self) -> dict[str, int]:
        """Return them by the names of the system's own."""
        return {
            "RLIMIT_CPU": self.cpu_seconds,
            "RLIMIT_AS": self.memory_bytes,
            "RLIMIT_FSIZE": self.file_bytes,
            "RLIMIT_NOFILE": self.open_files,
            "RLIMIT_NPROC": self.processes,
            "RLIMIT_CORE": 0,
        }


@dataclass(frozen=True, slots=True)
class Sandbox:
    """Runs programs, one at a time or from several threads."""

    isolated: bool = True
    """Without, there are only the limits: a program can read, write, send and kill as you can."""
    limits: Limits = Limits()

    def run(self, program: str) -> Outcome:
        """Run a Python program to its end.

        It has passed when its last line was reached: leaving early is no way to pass.
        """
        mark = secrets.token_hex(16)
        whole = f"{program}\n\nprint('\\n' + {mark!r})\n"
        environment = {"PATH": os.defpath, "LANG": "C.UTF-8"}
        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as output:
            command = [
                sys.executable,
                "-I",
                "-B",
                str(_JAIL),
                json.dumps(self.limits.rlimits()),
                folder if self.isolated else "",
            ]
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.DEVNULL,
                cwd=folder,
                env=environment,
                start_new_session=True,
            )
            try:
                process.communicate(whole.encode("utf-8", "replace"), self.limits.seconds)
            except subprocess.TimeoutExpired:
                return Outcome.TIMED_OUT
            finally:
                _kill_group(process)
            output.seek(max(0, output.seek(0, os.SEEK_END) - 2 * len(mark)))
            reached = output.read().rstrip().endswith(mark.encode())
        return Outcome.PASSED if process.returncode == 0 and reached else Outcome.FAILED


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    # Also after an end in good order: what the program started is in the same group.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdin is not None:
        process.stdin.close()


@cache
def isolation_problem() -> str | None:
    """Return why programs cannot be isolated on this machine, None where they can be."""
    if sys.platform != "linux":
        return "only Linux has what isolates them"
    if Sandbox().run("") is not Outcome.PASSED:
        return "this system does not let users make namespaces, or its kernel is older than 5.12"
    return None


def make_sandbox(*, unsandboxed: bool) -> Sandbox:
    """Return a sandbox that isolates, or one of limits alone for those who said so.

    Raises ConfigurationError where programs cannot be isolated.
    """
    if unsandboxed:
        if sys.platform == "win32":
            raise ConfigurationError("Tests cannot be run on Windows: leave them out, --no-tests.")
        return Sandbox(isolated=False)
    if (problem := isolation_problem()) is not None:
        raise ConfigurationError(
            f"These holes come with tests, and code that a model wrote cannot be isolated here: "
            f"{problem}. Leave the tests out with --no-tests, or run them with limits only, as "
            "you, with --run-unsandboxed."
        )
    return Sandbox()
