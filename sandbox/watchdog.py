"""What the processes of a sandbox use together. The system limits only each of them."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from sandbox.command import PRIVATE_FOLDER, Limits

_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


def exceeds(process: int, limits: Limits) -> bool:
    """Return whether the children of a process use more than the limits for all of them allow.

    Needs /proc/PID/task/TID/children, which Linux has since 3.5 on usual configurations.
    """
    children = _descendants(process)
    memory = sum(_own_memory(child) for child in children)
    return memory > limits.total_memory_bytes or _files(children) > limits.folder_files


def _descendants(process: int) -> list[int]:
    result: list[int] = []
    pending = [process]
    while pending:
        children = _children(pending.pop())
        pending += children
        result += children
    return result


def _children(process: int) -> list[int]:
    """Return the children of a process, none if it has ended. It may end while they are read."""
    children: list[int] = []
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{process}/task"):
            with suppress(OSError):
                numbers = Path(f"/proc/{process}/task/{thread}/children").read_text()
                children += map(int, numbers.split())
    return children


def _own_memory(process: int) -> int:
    """Return the memory of a process in bytes, without what it shares with files."""
    try:
        _, resident, shared, *_ = Path(f"/proc/{process}/statm").read_text().split()
    except (OSError, ValueError):
        return 0  # it has ended
    return (int(resident) - int(shared)) * _PAGE


def _files(processes: list[int]) -> int:
    """Return the number of files in the private folder."""
    for process in reversed(processes):
        with suppress(OSError):
            # The folder of a process that is still outside would be that of the machine.
            root = f"/proc/{process}/root"
            if not os.path.samestat(os.stat(root), os.stat("/")):
                status = os.statvfs(root + PRIVATE_FOLDER)
                return status.f_files - status.f_ffree
    return 0
