"""What a sandbox runs, with which limits, and what comes out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

PRIVATE_FOLDER = "/private"
"""The only folder in which an isolated program can write. It is empty at the start.

/tmp is a link to it, unless the program may read something in the /tmp of the machine: what is
below the private folder would count as writable for Landlock.
"""

NOBODY = 65534
"""The user and group id of an isolated program, inside its user namespace."""

_ENVIRONMENT = MappingProxyType({"PATH": os.defpath, "LANG": "C.UTF-8"})


class Outcome(StrEnum):
    """Outcome of running a program."""

    PASSED = "passed"
    """The command ended with status 0; a Python program also reached its last line."""
    FAILED = "failed"
    """The command ended with another status, or was stopped because it exceeded a limit."""
    TIMED_OUT = "timed out"
    CANCELLED = "cancelled"
    """The caller stopped it."""


class Exceeded(StrEnum):
    """What a program had too much of when it was stopped."""

    OUTPUT = "output"
    """More output than `Limits.output_bytes`."""
    USE = "use"
    """More memory or files of all its processes than the limits for all of them."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits for a program. Those of `rlimits` apply to each of its processes."""

    seconds: float = 10.0
    """Maximum wall-clock time of the whole program, in seconds."""
    cpu_seconds: int = 10
    """Maximum CPU time of a process, in seconds."""
    memory_bytes: int = 1 << 30
    """Maximum address space of a process."""
    total_memory_bytes: int = 2 << 30
    """Maximum memory of all processes together, in isolation only. Checked 20 times a second."""
    file_bytes: int = 16 << 20
    """Maximum size of a file."""
    folder_bytes: int = 64 << 20
    """Maximum size of all files in the private folder, in isolation only."""
    folder_files: int = 20_000
    """Maximum number of files in the private folder, in isolation only."""
    open_files: int = 64
    processes: int = 32
    """Maximum number of processes. If a program is not isolated, Linux counts all processes of the
    user, and does not enforce the limit for root."""
    output_bytes: int = 1 << 20
    """Maximum size of the output. A program that writes more is stopped."""

    def rlimits(self) -> dict[str, int]:
        """Return the limits by the names of the system's resources."""
        return {
            "RLIMIT_CPU": self.cpu_seconds,
            "RLIMIT_AS": self.memory_bytes,
            "RLIMIT_FSIZE": self.file_bytes,
            "RLIMIT_NOFILE": self.open_files,
            "RLIMIT_NPROC": self.processes,
            "RLIMIT_CORE": 0,
            "RLIMIT_MEMLOCK": 0,
            "RLIMIT_MSGQUEUE": 0,
        }


@dataclass(frozen=True, slots=True)
class Command:
    """A command and what it gets. It sees nothing else of the caller."""

    arguments: tuple[str, ...]
    """The program, as an absolute path or a name that is searched in PATH, and its arguments."""
    stdin: bytes = b""
    environment: Mapping[str, str] = field(default_factory=lambda: _ENVIRONMENT)
    """The whole environment, besides HOME and TMPDIR, which name the private folder."""
    folder: Path | None = None
    """The working folder, None for the private folder."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came out of a command."""

    outcome: Outcome
    status: int
    """The exit status; 128 plus the number of a signal, or a negative number, after a signal."""
    output: bytes
    """What it wrote to stdout and stderr, in this order of time, at most `Limits.output_bytes`."""
    exceeded: Exceeded | None = None
    """The limit because of which it was stopped. The system itself enforces the other limits."""
