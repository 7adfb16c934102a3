"""Runs a command of a sandbox from asyncio: cancelling the task kills all its processes."""

from __future__ import annotations

import asyncio
import threading

from sandbox.command import Command, Result
from sandbox.sandbox import Sandbox


async def run_cancellable(sandbox: Sandbox, command: Command) -> Result:
    """Run a command in a thread, without blocking the event loop.

    If the task is cancelled, the processes are killed before CancelledError is raised.
    """
    stop = threading.Event()
    work = asyncio.create_task(asyncio.to_thread(sandbox.run_command, command, stop))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([work])
        raise
