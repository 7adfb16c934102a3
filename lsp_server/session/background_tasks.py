"""Background tasks of a session: coroutines that no caller awaits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger(__name__)


class BackgroundTasks:
    """Runs coroutines in the background and logs their exceptions."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        """References that keep the event loop's tasks alive."""

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Start a coroutine as a task, and log its exception if it fails."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finish)

    def cancel_all(self) -> None:
        """Cancel all tasks that are still running."""
        for task in tuple(self._tasks):
            task.cancel()

    def _finish(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a background task failed", exc_info=error)
