"""Limits of users: token buckets on a monotonic clock."""

from functools import partial

import pytest

from engine.server.refusal import Refusal
from engine.server.users.accounts import Account, Accounts, Limits, TokenBucket


class Clock:
    """A clock that the test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def refused(account: Account, num_tokens: int | None = None) -> Refusal:
    use = account.admit if num_tokens is None else partial(account.reserve, num_tokens)
    with pytest.raises(Refusal) as caught:
        use()
    error = caught.value.body["error"]
    assert caught.value.status == 429
    assert error["code"] == "rate_limit_exceeded"
    assert error["message"].endswith(".")
    return caught.value


def test_a_bucket_refills_evenly_up_to_its_size(clock: Clock) -> None:
    bucket = TokenBucket(60, clock)
    bucket.take(60)
    assert bucket.level == 0
    assert bucket.seconds_until(5) == 5.0
    clock.now = 5.0
    assert bucket.level == 5
    assert bucket.seconds_until(5) == 0
    clock.now = 500.0
    assert bucket.level == 60
    bucket.take(-10)
    assert bucket.level == 60


def test_an_overdrawn_bucket_is_paid_back_first(clock: Clock) -> None:
    bucket = TokenBucket(60, clock)
    bucket.take(90)
    assert bucket.level == -30
    assert bucket.seconds_until(1) == 31.0


def test_requests_per_minute(clock: Clock) -> None:
    account = Account("alice", Limits(requests_per_minute=2), clock)
    account.admit()
    account.admit()
    refusal = refused(account)
    assert refusal.headers["Retry-After"] == "30"
    assert refusal.body["error"]["type"] == "requests"
    clock.now = 29.9
    assert refused(account).headers["Retry-After"] == "1"
    clock.now = 30.0
    account.admit()


def test_parallel_requests(clock: Clock) -> None:
    account = Account("alice", Limits(requests_per_minute=9, parallel_requests=2), clock)
    account.num_running = 1
    account.admit()
    account.num_running = 2
    assert refused(account).headers["Retry-After"] == "1"
    # A refused request does not count.
    assert account.headers()["x-ratelimit-remaining-requests"] == "8"


def test_tokens_are_reserved_and_settled(clock: Clock) -> None:
    account = Account("alice", Limits(tokens_per_minute=600), clock)
    account.reserve(400)
    refusal = refused(account, 201)
    assert refusal.headers["Retry-After"] == "1"
    assert refusal.body["error"]["type"] == "tokens"
    account.reserve(200)
    refused(account)
    account.settle(200, 0)  # cancelled before it started
    account.admit()
    account.settle(400, 700)  # a long output
    assert account.headers()["x-ratelimit-remaining-tokens"] == "0"
    assert refused(account).headers["Retry-After"] == "11"
    clock.now = 11.0
    account.admit()


def test_a_prompt_of_more_tokens_than_a_minute_has_is_not_worth_a_retry(clock: Clock) -> None:
    account = Account("alice", Limits(tokens_per_minute=600), clock)
    account.reserve(600)
    account.settle(600, 0)
    assert "Retry-After" not in refused(account, 601).headers


def test_headers_are_those_of_openai(clock: Clock) -> None:
    account = Account("alice", Limits(60, 600, 4), clock)
    account.admit()
    account.reserve(60)
    assert account.headers() == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "1.000s",
        "x-ratelimit-limit-tokens": "600",
        "x-ratelimit-remaining-tokens": "540",
        "x-ratelimit-reset-tokens": "6.000s",
    }
    assert Account("bob", Limits(), clock).headers() == {}


def test_without_limits_nothing_is_refused(clock: Clock) -> None:
    for limits in (Limits(), Limits(0, 0, 0, 0)):
        account = Account("", limits, clock)
        account.num_running = 1000
        for _ in range(1000):
            account.admit()
            account.reserve(10**9)


def test_own_limits_replace_the_defaults_one_by_one() -> None:
    accounts = Accounts(Limits(10, 20, 30, 40))
    assert accounts.account("alice", Limits()).limits == Limits(10, 20, 30, 40)
    assert accounts.account("bob", Limits(0, None, 3)).limits == Limits(0, 20, 3, 40)


def test_changed_limits_keep_what_was_used(clock: Clock) -> None:
    account = Account("alice", Limits(10), clock)
    for _ in range(5):
        account.admit()
    account.set_limits(Limits(100))
    assert account.headers()["x-ratelimit-remaining-requests"] == "50"
    account.set_limits(Limits(100, 100))
    assert account.headers()["x-ratelimit-remaining-requests"] == "50"
    account.set_limits(Limits())
    assert account.headers() == {}


def test_a_user_keeps_the_account() -> None:
    accounts = Accounts(Limits(10))
    accounts.account("alice", Limits()).admit()
    accounts.account("bob", Limits())
    again = accounts.account("alice", Limits())
    assert again.headers()["x-ratelimit-remaining-requests"] == "9"
    again.num_running = 3
    assert accounts.num_running == 3
