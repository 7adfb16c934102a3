"""Failures in a row make the delays longer, up to a limit, and never the same for everybody."""

import pytest

from engine.client.retry import FIRST_S, LONGEST_S, Backoff


def test_the_delays_double_up_to_a_limit_and_begin_again() -> None:
    backoff = Backoff(lambda: 1.0)
    delays = [backoff.fail() for _ in range(8)]
    assert delays[:5] == [FIRST_S, 2 * FIRST_S, 4 * FIRST_S, 8 * FIRST_S, 16 * FIRST_S]
    assert delays[5:] == [LONGEST_S] * 3
    backoff.reset()
    assert backoff.fail() == FIRST_S


def test_a_long_outage_needs_no_huge_number() -> None:
    backoff = Backoff(lambda: 1.0)
    for _ in range(5000):
        assert backoff.fail() <= LONGEST_S


def test_no_two_editors_ask_in_step() -> None:
    delays = {Backoff().fail() for _ in range(20)}
    assert len(delays) == 20
    assert all(0.5 * FIRST_S <= delay <= FIRST_S for delay in delays)
    assert Backoff(lambda: 0.0).fail() == 0.5 * FIRST_S


@pytest.mark.parametrize(
    ("wish", "delay"), [(7.0, 7.0), (0.0, FIRST_S), (None, FIRST_S), (1e9, 600.0)]
)
def test_the_server_may_wish_for_a_longer_delay(wish: float | None, delay: float) -> None:
    assert Backoff(lambda: 1.0).fail(wish) == delay
