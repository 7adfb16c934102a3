"""Keeps a memory up to date in the background, and searches it without a delay of the caller."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable

from fim.memory.project_memory import ProjectMemory
from fim.snapshot import Passage

log = logging.getLogger(__name__)

MAX_WAIT_S = 0.005
"""Seconds that a request waits for passages."""
_MAX_SEARCHES = 2
"""Maximum number of searches at a time; a disk that does not answer must not fill all threads."""
_PAUSE_FACTOR = 4
"""A build is followed by a pause of this many times its duration."""

_one_build = threading.Lock()
"""Builds take one core of the machine, also those of several projects."""


class MemoryWorker:
    """A memory with a thread for its builds."""

    def __init__(self, prepare: Callable[[], None] = lambda: None) -> None:
        """`prepare` is called in the thread before each build."""
        self.memory = ProjectMemory()
        self._prepare = prepare
        self._lock = threading.Lock()
        self._is_building = False
        self._earliest = 0.0
        """Time before which no build starts."""
        self._num_searches = 0
        self._is_stopped = False

    async def search(
        self,
        search: Callable[[], tuple[Passage, ...]],
        max_wait_s: float | None = MAX_WAIT_S,
    ) -> tuple[Passage, ...]:
        """Return the passages that a function finds in a thread, none if it takes too long."""
        if self._num_searches >= _MAX_SEARCHES and max_wait_s is not None:
            return ()
        self._num_searches += 1
        work = asyncio.get_running_loop().run_in_executor(None, search)
        work.add_done_callback(self._end_search)
        done, _ = await asyncio.wait({work}, timeout=max_wait_s)
        return work.result() if done and work.exception() is None else ()

    def start_build(self, *, is_outdated: bool = False) -> None:
        """Index what has changed, in the background; do nothing during a build or soon after.

        `is_outdated` says that `prepare` has something to do.
        """
        if not is_outdated and not self.memory.needs_build:
            return
        with self._lock:
            if self._is_stopped or self._is_building or time.monotonic() < self._earliest:
                return
            self._is_building = True
        # A daemon, because the end of the process must not wait for it.
        threading.Thread(target=self._build, name="project memory", daemon=True).start()

    def stop(self) -> None:
        """End a build that runs as soon as possible."""
        self._is_stopped = True

    def _build(self) -> None:
        try:
            with _one_build:
                start = time.monotonic()
                self._prepare()
                self.memory.build(lambda: self._is_stopped)
                end = time.monotonic()
                self._earliest = end + _PAUSE_FACTOR * (end - start)
        except Exception as error:  # a suggestion without passages is better than none
            log.error("cannot index the project: %s", type(error).__name__)
            self._earliest = time.monotonic() + 60.0
        finally:
            self._is_building = False

    def _end_search(self, work: asyncio.Future[tuple[Passage, ...]]) -> None:
        self._num_searches -= 1
        if not work.cancelled() and (error := work.exception()) is not None:
            log.error("cannot search the project: %s", type(error).__name__)
