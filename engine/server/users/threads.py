"""Work in threads, a few at a time per user.

The threads of an event loop are few, and they take work in the order in which it came. Encoding a
body of two megabytes takes a second, so one user could occupy all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from engine.server.operation.recording import current_record

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return the result of a function that a thread calls when its user has one to spare.

    A thread cannot be interrupted. If this is cancelled, for example since the client has closed
    the connection, the user still has one thread less until the function returns.
    """
    account = current_record().account
    assert account is not None
    threads = account.threads
    await threads.acquire()
    task = asyncio.create_task(asyncio.to_thread(function, *args, **kwargs))
    task.add_done_callback(lambda _: threads.release())
    return await asyncio.shield(task)
