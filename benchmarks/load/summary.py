"""The figures of one measurement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.load.outcomes import (
    Counts,
    Fate,
    Kind,
    Outcome,
    Times,
    count,
    growth,
    p95_by_user,
    times_to_answer,
    times_to_first_token,
    unfairness,
)
from benchmarks.load.run import FLOODER, Measurement
from fim.evaluation.report import percentile

TARGET_MS = 300.0
"""Time to a suggestion that 95 % of the requests should not exceed, in milliseconds."""
MAX_GROWTH = 0.05
"""Growth of the memory, as a share, up to which it counts as flat."""
MIN_GROWTH_S = 180.0
"""Seconds from which growth is a fault: until then the prefix cache may still fill."""
_MAX_DELAY_S = 0.05
"""Delay of the load generator, as 95th percentile, from which its figures mean little."""
_MAX_REFUSED = 0.001


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of one number of users with one server."""

    server: str
    typists: int
    chats: int
    flood: int
    seconds: float
    honest: Counts
    """Requests of all users but the one who floods."""
    flooder: Counts
    suggestion: Times
    """Milliseconds to the whole suggestion."""
    first_token: Times
    """Milliseconds to the first token of a suggestion."""
    chat_first_token: Times
    completions_per_s: float
    """Answered completions per second."""
    tokens_per_s: float
    """Output tokens of answered requests per second, chats included."""
    chat_tokens_per_s: float
    reused: float
    """Share of the prompt tokens that the server took from its prefix cache."""
    unfairness: float | None
    """The worst served typist's p95 divided by that of the best served one."""
    worst_p95: float
    """Milliseconds of the worst served typist."""
    memory_mib: float
    """Memory of the server at the end; 0 if unknown."""
    memory_growth: float
    server_cores: float
    """Processor seconds of the server per second."""
    generator_cores: float
    """Processor seconds of the load generator per second."""
    generator_delay_ms: float
    """95th percentile of the time by which the generator was late with a request."""

    @property
    def serves(self) -> bool:
        """Whether this number of users is served in time: the target is kept, and nobody is
        refused."""
        return (
            self.suggestion.p95 <= TARGET_MS
            and self.honest.unanswered == 0
            and self.honest.refused <= _MAX_REFUSED * self.honest.sent
        )

    def faults(self) -> list[str]:
        """Return what must not happen in any measurement, as sentences."""
        faults = []
        if self.honest.unanswered:
            faults.append(f"{self.honest.unanswered} requests got no answer.")
        if self.honest.refused:
            faults.append(f"{self.honest.refused} requests of honest users were refused.")
        if self.memory_growth > MAX_GROWTH and self.seconds >= MIN_GROWTH_S:
            faults.append(f"The memory grew by {self.memory_growth:.1%} in the second half.")
        if self.generator_delay_ms > _MAX_DELAY_S * 1000:
            faults.append(
                f"The load generator was {self.generator_delay_ms:.0f} ms late: it had too little "
                "processor time, and the times are too long."
            )
        return faults


def summarize(measured: Measurement) -> Summary:
    """Return the figures of a measurement."""
    honest = [each for each in measured.outcomes if each.user != FLOODER]
    warm = [each for each in measured.warm() if each.user != FLOODER]
    completions, chats = _of(warm, Kind.COMPLETION), _of(warm, Kind.CHAT)
    warm_s = measured.seconds - measured.load.warm_up_s
    answered = count(each for each in warm if each.fate is Fate.ANSWERED)
    by_user = p95_by_user(completions)
    return Summary(
        server=measured.server,
        typists=measured.load.typists,
        chats=measured.load.chats,
        flood=measured.load.flood,
        seconds=measured.seconds,
        honest=count(honest),
        flooder=count(each for each in measured.outcomes if each.user == FLOODER),
        suggestion=times_to_answer(completions),
        first_token=times_to_first_token(completions),
        chat_first_token=times_to_first_token(chats),
        completions_per_s=count(completions).answered / warm_s,
        tokens_per_s=answered.output_tokens / warm_s,
        chat_tokens_per_s=count(chats).output_tokens / warm_s,
        reused=answered.reused_tokens / max(1, answered.prompt_tokens),
        unfairness=unfairness(by_user),
        worst_p95=max(by_user.values(), default=float("inf")),
        memory_mib=measured.memory[-1][1] if measured.memory else 0.0,
        memory_growth=growth(measured.memory),
        server_cores=measured.server_s / measured.seconds,
        generator_cores=measured.generator_s / measured.seconds,
        generator_delay_ms=1000 * percentile(sorted(measured.delays) or [0.0], 0.95),
    )


def _of(outcomes: Sequence[Outcome], kind: Kind) -> list[Outcome]:
    return [each for each in outcomes if each.kind is kind]


def flood_factor(summaries: Sequence[Summary]) -> float | None:
    """Return by how much a flooding user lengthens the others' p95; None if it was not measured.

    The measurement without the flood is that of the same server and number of users.
    """
    for flooded in (each for each in summaries if each.flood):
        for quiet in summaries:
            same = (quiet.server, quiet.typists) == (flooded.server, flooded.typists)
            if same and not quiet.flood:
                return flooded.suggestion.p95 / quiet.suggestion.p95
    return None


def most_users(serves: dict[int, bool]) -> tuple[int, int | None]:
    """Return the largest number of users that is served, and the smallest larger one that is not.

    The second is None if every larger number that was tried is served.
    """
    served = max((users for users, is_served in serves.items() if is_served), default=0)
    larger = [users for users, is_served in serves.items() if not is_served and users > served]
    return served, min(larger, default=None)


def next_to_try(serves: dict[int, bool]) -> int | None:
    """Return the number of users whose measurement halves what is unknown; None at the end.

    The end is a gap of a tenth of the number of users that is served, or of one user.
    """
    served, failed = most_users(serves)
    if failed is None:
        return 2 * served
    middle = (served + failed) // 2
    is_close = failed - served <= max(1, served // 10)
    return None if is_close or middle in serves else middle


def row(summary: Summary) -> dict[str, Any]:
    """Return the summary as a JSON object."""
    return {**asdict(summary), "serves": summary.serves, "faults": summary.faults()}
