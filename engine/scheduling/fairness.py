"""Shares the engine between users: who has had less of it recently goes first.

The measure is the engine's time, as the virtual time of fair queueing is; "Fairness in Serving
Large Language Models" (Sheng et al. 2024) counts tokens instead, whose costs differ by a factor of
a hundred between prefill and decoding. Old service is forgotten exponentially. So a user who comes
back gets no credit for the absence, and one who has just computed much does not pay for it long.

With one user, or without names of users, all this changes nothing.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence

from engine.api import Priority

_MEMORY_S = 10.0
"""Seconds after which service counts only 1/e."""
_TOLERANCE_MS = 1000.0
"""Difference of recent service, in milliseconds, up to which no user is heavy. It is 10 % of the
engine's time, about what a person needs who types."""

_FAIR = 1.5
"""Multiple of the mean service from which on a user has had more than a fair part."""
_CHECK_EVERY_S = 0.05

_SHARE = 2
"""Multiple of the free places, and of the free KV caches, that one user may use. With one user a
third of them, and with several users a smaller part, stays free for those who have none."""

UserWork = tuple[str, Priority]
"""Name of a user, and the priority of requests: someone who chats is not slower at typing."""


class RecentService:
    """The engine's time that each user has had recently."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._service: dict[UserWork, tuple[float, float]] = {}
        """Milliseconds, and the time in seconds up to which they have decayed."""
        self._heavy: frozenset[UserWork] = frozenset()
        self._next_check = 0.0

    def add(self, work: UserWork, milliseconds: float) -> None:
        """Record that the engine has worked for a user."""
        self._service[work] = (self.milliseconds(work) + milliseconds, self._clock())

    def milliseconds(self, work: UserWork) -> float:
        """Return the recent service of a user."""
        milliseconds, updated = self._service.get(work, (0.0, 0.0))
        return milliseconds * math.exp((updated - self._clock()) / _MEMORY_S)

    def heavy(self) -> frozenset[UserWork]:
        """Return who has had more than a fair part, and much more than another recent user.

        Users are compared with those of requests of the same priority.
        """
        now = self._clock()
        if now >= self._next_check:
            self._next_check = now + _CHECK_EVERY_S
            oldest = now - _MEMORY_S
            self._service = {w: last for w, last in self._service.items() if last[1] >= oldest}
            self._heavy = self._find_heavy()
        return self._heavy

    def _find_heavy(self) -> frozenset[UserWork]:
        heavy: list[UserWork] = []
        for priority in Priority:
            service = {w: self.milliseconds(w) for w in self._service if w[1] is priority}
            if len(service) < 2:
                continue
            least, mean = min(service.values()), sum(service.values()) / len(service)
            limit = max(least + _TOLERANCE_MS, _FAIR * mean)
            heavy += [work for work, value in service.items() if value > limit]
        return frozenset(heavy)


def may_start(user: str, num_of_user: int, num_free: int) -> bool:
    """Return whether a user who has requests running may start another one.

    `num_free` is the number of free places for requests of this priority. A user without a name
    may take all of them, because there are no others.
    """
    return num_free > 0 and (not user or num_of_user < _SHARE * num_free)


def may_take_cache(work: UserWork, running: Sequence[UserWork], num_free: int) -> bool:
    """Return whether a user's request may take one of `num_free` free KV caches.

    `running` has one entry for each running sequence. The last cache is for a user who has none
    for this kind of work, and not for a second chat or prefetch: these keep a cache for long, and
    a completion would wait for them.
    """
    num_of_user = Counter(running)[work]
    if not may_start(work[0], num_of_user, num_free):
        return False
    if num_free > 1 or not work[0]:
        return True
    is_completion = work[1] is Priority.COMPLETION
    others_are_short = all(priority is Priority.COMPLETION for _, priority in running)
    return not num_of_user and (is_completion or others_are_short)
