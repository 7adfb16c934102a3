"""The jobs that wait to run."""

from __future__ import annotations

import queue
from collections import Counter
from collections.abc import Callable, Sequence

from engine.api import Priority
from engine.scheduling.fairness import RecentService, UserWork, may_start, may_take_cache
from engine.scheduling.job import EndOfStream, Job

_MAX_RUNNING = {Priority.COMPLETION: 16, Priority.CHAT: 4, Priority.PREFETCH: 2}
"""Maximum number of running sequences by priority. Later jobs wait until one ends."""
_MAX_COMPLETIONS_ON_CPU = 4
"""On a GPU, 16 sequences take hardly longer together than one. A CPU computes them nearly one after
the other, so it is better to end some first: fewer outputs are cancelled by the next key before
they are complete. With `benchmarks.load` and 32 typists, 4 instead of 16 shorten the 95th
percentile by a third, and a tenth more suggestions are complete."""


class WaitingJobs:
    """Jobs in the order in which they start."""

    def __init__(self, *, on_cpu: bool) -> None:
        """Create an empty queue. `on_cpu` says where the model computes."""
        on_this_device = {Priority.COMPLETION: _MAX_COMPLETIONS_ON_CPU} if on_cpu else {}
        self._max_running = _MAX_RUNNING | on_this_device
        self._submitted: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._waiting: list[Job] = []

    def __len__(self) -> int:
        """Return the number of admitted jobs that wait."""
        return len(self._waiting)

    def submit(self, job: Job) -> None:
        """Add a job. Any thread may call this."""
        self._submitted.put(job)

    def wake(self) -> None:
        """Make a blocked `admit` return. Any thread may call this."""
        self._submitted.put(None)

    def admit(self, is_idle: bool, prepare: Callable[[], bool]) -> None:
        """Take the submitted jobs.

        While nothing runs (`is_idle`) and no job waits, this calls `prepare` until it returns
        False or a job arrives, and then blocks until a job arrives.
        """
        must_wait = is_idle and not self._waiting
        while must_wait and self._submitted.empty() and prepare():
            pass
        if must_wait and (job := self._submitted.get()) is not None:
            self._waiting.append(job)
        self._take_submitted()

    def drop(self, *, cancelled_only: bool) -> None:
        """Drop waiting jobs; each gets its last event.

        With `cancelled_only` False this includes jobs that are submitted but not admitted.
        """
        if not cancelled_only:
            self._take_submitted()
        for job in list(self._waiting):
            if job.cancelled.is_set() or not cancelled_only:
                self._waiting.remove(job)
                job.emit(EndOfStream())

    def _take_submitted(self) -> None:
        while not self._submitted.empty():
            job = self._submitted.get()
            if job is not None:
                self._waiting.append(job)

    def take_next(
        self, running: Sequence[UserWork], service: RecentService, num_free_caches: int
    ) -> Job | None:
        """Remove and return the next job that may start, None if there is none.

        `running` has one entry for each running sequence. `num_free_caches` is the number of KV
        caches for which there is memory.
        """
        num_of_user = Counter(running)
        recent = {work: service.milliseconds(work) for work in {job.work for job in self._waiting}}
        for job in sorted(self._waiting, key=lambda job: _start_order(job, recent[job.work])):
            num_free = self._num_free(job.work, num_of_user)
            if may_start(job.user, num_of_user[job.work], num_free) and may_take_cache(
                job.work, running, num_free_caches
            ):
                self._waiting.remove(job)
                return job
        return None

    def _num_free(self, work: UserWork, num_of_user: Counter[UserWork]) -> int:
        """Return the number of places that are free for a user.

        Each other user takes one, however many sequences of theirs run: they share the time of one
        user's sequences (`HeavyTurns`), so they must not keep others waiting either.
        """
        others = sum(other != work and other[1] is work[1] for other in num_of_user)
        return self._max_running[work[1]] - others - num_of_user[work]


def _start_order(job: Job, service: float) -> tuple[int, float, int]:
    """Sort key of waiting jobs: completions first, then users with little recent service.

    Of one user, the newest completion and the oldest other job come first.
    """
    is_completion = job.priority is Priority.COMPLETION
    return job.priority, service, -job.number if is_completion else job.number
