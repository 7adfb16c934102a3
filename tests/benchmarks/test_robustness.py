"""Real servers and engines survive use, kills and cancellations; see docs/robustness.md.

The cases are those of the benchmark, which repeats them more often and for longer.
"""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from benchmarks.robustness.cancellation import cancel_randomly
from benchmarks.robustness.engines import SharedEngine, shared_engine
from benchmarks.robustness.kill import CASES, LAST_CASE, Case, count
from benchmarks.robustness.processes import Course, Sample
from benchmarks.robustness.soak import soak
from tests.e2e.client import ROOT

pytestmark = [
    pytest.mark.usefixtures("own_state"),
    pytest.mark.skipif(sys.platform == "win32", reason="optional: POSIX signals"),
]

_WARM_UP_S, _SECONDS = 40, 70
_MAX_GROWTH = {"engine": 0.15, "server": 0.10}
"""Growth within half a minute. While memory still grew with each key, a minute added 0.2 and 0.15:
the prefix cache may still fill its limit here."""


@pytest.fixture
def own_state(own_engines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STARCODER_LSP_CHATS", str(tmp_path / "chats.sqlite3"))


@pytest.fixture
async def shared() -> AsyncIterator[SharedEngine]:
    async with shared_engine(3, "demo") as engine:
        yield engine


@pytest.mark.parametrize("case", [*CASES, LAST_CASE], ids=lambda case: case.run.__name__)
async def test_the_next_key_is_answered(case: Case, shared: SharedEngine) -> None:
    result = await count(case, shared, 1)
    assert result.problem == ""
    assert result.passed == 1


async def test_a_cancelled_request_is_answered_once_and_leaves_nothing(
    shared: SharedEngine,
) -> None:
    result = await cancel_randomly(shared, 300)
    assert result.cancelled_errors + result.results + result.refused == result.requests == 300
    assert result.cancelled_errors > 100
    assert result.results > 20
    assert (result.unanswered, result.answered_twice, result.caches_kept) == (0, 0, 0)
    assert result.tokens_afterwards <= 1024  # those of the step in progress


async def test_a_minute_of_use_leaves_nothing(tmp_path: Path) -> None:
    result = await soak(
        ROOT / "fim" / "postprocess",
        tmp_path / "work",
        model="demo",
        typists=2,
        seconds=_SECONDS,
        pace=0.5,
        sample_every_s=1.0,
    )
    assert (result.num_unanswered, result.num_unexpected) == (0, 0)
    assert result.actions["type"] > 50
    for course in result.courses:
        assert course.growth(_WARM_UP_S, 10) < _MAX_GROWTH[course.name.split()[0]]
        middle, end = course.window(0, _WARM_UP_S), course.window(_WARM_UP_S, _SECONDS)
        for name in ("threads", "files"):
            largest = [max(getattr(sample, name) for sample in part) for part in (middle, end)]
            assert largest[1] <= largest[0] + 3  # a chat, a task and a file that is being read
        # One server has started the engine, which is its child.
        assert max(sample.children for sample in end) <= (course.name != "engine")


def test_growth_is_that_after_the_warm_up() -> None:
    sizes = [50, 90, 100, 101, 120, 102]
    samples = [Sample(10.0 * i, size, size, 1, 1, 0) for i, size in enumerate(sizes)]
    course = Course("engine", samples)
    assert course.growth(20, 5) == pytest.approx(0.2)
    assert course.growth(20, 25) == pytest.approx((102 - 90) / 90)
    assert course.memory_at(50, 5) == 102
