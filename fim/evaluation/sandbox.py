"""Runs programs that a model has written parts of, with limits and isolated from the machine.

The isolation is in `fim.evaluation.sandbox_child`. It is not a virtual machine: the program may
read all files that the user may read, but it can neither send nor change anything.
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

_CHILD = Path(__file__).with_name("sandbox_child.py")


class Outcome(StrEnum):
    """Outcome of running a program."""

    PASSED = "passed"
    """The program reached its last line."""
    FAILED = "failed"
    TIMED_OUT = "timed out"


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits for a program; some apply to each of its processes, depending on the system."""

    seconds: float = 10.0
    """Maximum wall-clock time of the whole program, in seconds."""
    cpu_seconds: int = 10
    """Maximum CPU time, in seconds."""
    memory_bytes: int = 1 << 30
    file_bytes: int = 16 << 20
    open_files: int = 64
    processes: int = 32
    """Maximum number of processes; Linux does not enforce it for root."""

    def rlimits(self) -> dict[str, int]:
        """Return the limits by the names of the system's resources."""
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
    """Runs programs; safe to use from several threads."""

    isolated: bool = True
    """Whether the program is isolated. If not, it can do everything that the user can."""
    limits: Limits = Limits()

    def run(self, program: str) -> Outcome:
        """Run a Python program.

        It passes only if its last line is reached, so a program that exits early fails.
        """
        mark = secrets.token_hex(16)
        marked = f"{program}\n\nprint('\\n' + {mark!r})\n"
        environment = {"PATH": os.defpath, "LANG": "C.UTF-8"}
        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as output:
            command = [
                sys.executable,
                "-I",
                "-B",
                str(_CHILD),
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
                process.communicate(marked.encode("utf-8", "replace"), self.limits.seconds)
            except subprocess.TimeoutExpired:
                return Outcome.TIMED_OUT
            finally:
                _kill_group(process)
            output.seek(max(0, output.seek(0, os.SEEK_END) - 2 * len(mark)))
            reached = output.read().rstrip().endswith(mark.encode())
        return Outcome.PASSED if process.returncode == 0 and reached else Outcome.FAILED


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    # This is needed after a normal end too, for processes that the program has started.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdin is not None:
        process.stdin.close()


@cache
def isolation_problem() -> str | None:
    """Return why programs cannot be isolated on this machine, None if they can be."""
    if sys.platform != "linux":
        return "isolation is only available on Linux"
    if Sandbox().run("") is not Outcome.PASSED:
        return "this system does not allow user namespaces, or its kernel is older than 5.12"
    return None


def make_sandbox(*, unsandboxed: bool) -> Sandbox:
    """Return a sandbox with isolation, or one with limits only if `unsandboxed` is True.

    Raises ConfigurationError if programs cannot be isolated.
    """
    if unsandboxed:
        if sys.platform == "win32":
            raise ConfigurationError("Tests cannot be run on Windows. Use --no-tests.")
        return Sandbox(isolated=False)
    if (problem := isolation_problem()) is not None:
        raise ConfigurationError(
            "The holes have tests, but generated code cannot be isolated on this machine: "
            f"{problem}. Use --no-tests to skip the tests, or --run-unsandboxed to run them with "
            "your own permissions and with limits only."
        )
    return Sandbox()
