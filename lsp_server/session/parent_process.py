"""Ends the server when the editor's process has ended, even if it was killed."""

from __future__ import annotations

import asyncio
import logging
import os

import psutil

log = logging.getLogger(__name__)

_CHECK_INTERVAL_S = 2.0


def find_process(pid: int) -> psutil.Process | None:
    """Return a process, None if it is not visible (in another container) or has ended.

    Without the editor's process the server ends at the end of file on stdin. psutil also compares
    creation times, since a process id may be reused.
    """
    try:
        return psutil.Process(pid)
    except (psutil.Error, ValueError, OverflowError):  # the client may send any number
        return None


async def exit_with(parent: psutil.Process) -> None:
    """End this process soon after the parent has ended."""
    while _is_running(parent):  # noqa: ASYNC110 - the process sends no event
        await asyncio.sleep(_CHECK_INTERVAL_S)
    log.info("the editor (process %d) has ended: exiting", parent.pid)
    os._exit(0)


def _is_running(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
