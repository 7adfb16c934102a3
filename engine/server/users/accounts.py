"""Users of a server: their limits, and what they have used of them.

Requests and tokens per minute are token buckets: a full bucket is one minute's worth, so a user may
use it in one burst, and it refills evenly (Turner 1986, "leaky bucket as a meter"). Time is that of
a monotonic clock, so a changed system clock changes no limit.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields, replace

from engine.server.limits import BODY_BURST_BYTES, BODY_BYTES_PER_S
from engine.server.refusal import Refusal

_SECONDS = 60.0
_CODE = "rate_limit_exceeded"
_NUM_THREADS = 2
"""Number of threads per user. An event loop has at least five."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a user may use. 0 is no limit; None is the server's default."""

    requests_per_minute: int | None = None
    """Requests for output per minute."""
    tokens_per_minute: int | None = None
    """Tokens of prompts and outputs per minute."""
    parallel_requests: int | None = None
    """Requests that run or wait together."""
    body_bytes: int | None = None
    """Size of the body of a request."""

    def over(self, defaults: Limits) -> Limits:
        """Return these limits, with the default for each that is not set."""
        unset = [field.name for field in fields(self) if getattr(self, field.name) is None]
        return replace(self, **{name: getattr(defaults, name) for name in unset})


class TokenBucket:
    """An allowance that refills evenly. It may be overdrawn, and is paid back first."""

    def __init__(
        self, per_minute: int, clock: Callable[[], float], capacity: int | None = None
    ) -> None:
        """Create a full bucket; by default it holds one minute's worth."""
        self.per_minute = per_minute
        self._capacity = per_minute if capacity is None else capacity
        self._clock, self._level, self._updated = clock, float(self._capacity), clock()

    @property
    def level(self) -> float:
        """What is left; negative if the bucket is overdrawn."""
        now = self._clock()
        refill = (now - self._updated) * self.per_minute / _SECONDS
        self._level, self._updated = min(self._capacity, self._level + refill), now
        return self._level

    def take(self, amount: float) -> None:
        """Take an amount, or give it back if it is negative."""
        self._level = min(self._capacity, self.level - amount)

    def seconds_until(self, amount: float) -> float:
        """Return the seconds until the level reaches an amount; 0 if it has."""
        return max(0.0, (amount - self.level) * _SECONDS / self.per_minute)


class Account:
    """One user of a server."""

    def __init__(
        self, name: str, limits: Limits, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Create a user who has used nothing; the name is empty if there is only one user."""
        self.name, self._clock = name, clock
        self.num_running = 0
        """Number of requests for output that run or wait."""
        self.threads = asyncio.Semaphore(_NUM_THREADS)
        """The threads that the user may occupy; see `engine.server.users.threads`."""
        self._bodies = TokenBucket(BODY_BYTES_PER_S * 60, clock, BODY_BURST_BYTES)
        self._requests: TokenBucket | None = None
        self._tokens: TokenBucket | None = None
        self.limits = Limits()
        self.set_limits(limits)

    def set_limits(self, limits: Limits) -> None:
        """Replace the limits. A bucket of another size is as full as before, in proportion."""
        if limits != self.limits:
            self.limits = limits
            self._requests = self._resized(self._requests, limits.requests_per_minute)
            self._tokens = self._resized(self._tokens, limits.tokens_per_minute)

    def _resized(self, bucket: TokenBucket | None, per_minute: int | None) -> TokenBucket | None:
        if not per_minute:
            return None
        resized = TokenBucket(per_minute, self._clock)
        if bucket is not None:
            resized.take(per_minute * (1 - bucket.level / bucket.per_minute))
        return resized

    def admit(self) -> None:
        """Count a request. Raises Refusal if a limit is reached."""
        parallel = self.limits.parallel_requests
        if parallel and self.num_running >= parallel:
            raise _refusal(
                f"You have {parallel} requests running or waiting, which is your limit.", 1.0
            )
        if self._tokens is not None and (wait_s := self._tokens.seconds_until(1)):
            raise _too_many(self._tokens, "tokens", wait_s)
        if self._requests is not None:
            if wait_s := self._requests.seconds_until(1):
                raise _too_many(self._requests, "requests", wait_s)
            self._requests.take(1)

    @asynccontextmanager
    async def body_turn(self, num_bytes: int) -> AsyncIterator[float]:
        """Take a body's bytes, and yield the seconds until it may be read as JSON.

        If the block fails because the client has gone, the bytes are given back. No request waits
        if there is only one user.
        """
        if not self.name:
            yield 0.0
            return
        wait_s = self._bodies.seconds_until(0)
        self._bodies.take(num_bytes)
        try:
            yield wait_s
        except BaseException:
            self._bodies.take(-num_bytes)
            raise

    def reserve(self, num_tokens: int) -> None:
        """Take the tokens of a prompt. Raises Refusal if fewer are left."""
        if self._tokens is None:
            return
        if num_tokens > self._tokens.per_minute:
            raise _refusal(
                f"The prompt has {num_tokens:,} tokens, and you may use "
                f"{self._tokens.per_minute:,} per minute. Send a shorter prompt.",
                None,
                "tokens",
            )
        if wait_s := self._tokens.seconds_until(num_tokens):
            raise _too_many(self._tokens, "tokens", wait_s)
        self._tokens.take(num_tokens)

    def settle(self, reserved: int, used: int) -> None:
        """Replace a reservation by the number of tokens that were used."""
        if self._tokens is not None:
            self._tokens.take(used - reserved)

    def headers(self) -> dict[str, str]:
        """Return OpenAI's headers on rate limits (API reference, "Rate limits")."""
        headers = {}
        for name, bucket in (("requests", self._requests), ("tokens", self._tokens)):
            if bucket is not None:
                reset_s = bucket.seconds_until(bucket.per_minute)
                headers[f"x-ratelimit-limit-{name}"] = str(bucket.per_minute)
                headers[f"x-ratelimit-remaining-{name}"] = str(max(0, math.floor(bucket.level)))
                headers[f"x-ratelimit-reset-{name}"] = f"{reset_s:.3f}s"
        return headers


class Accounts:
    """The users that have sent requests, by name."""

    def __init__(self, defaults: Limits) -> None:
        """`defaults` are the limits of a user without other ones."""
        self._defaults = defaults
        self._accounts: dict[str, Account] = {}

    def account(self, name: str, limits: Limits) -> Account:
        """Return the account of a user who has these limits now."""
        limits = limits.over(self._defaults)
        account = self._accounts.get(name)
        if account is None:
            account = self._accounts[name] = Account(name, limits)
        account.set_limits(limits)
        return account

    @property
    def num_running(self) -> int:
        """Number of requests of all users that run or wait."""
        return sum(account.num_running for account in self._accounts.values())


def _too_many(bucket: TokenBucket, unit: str, wait_s: float) -> Refusal:
    return _refusal(f"You have used your {bucket.per_minute:,} {unit} per minute.", wait_s, unit)


def _refusal(message: str, wait_s: float | None, kind: str = "requests") -> Refusal:
    headers = {}
    if wait_s is not None:
        seconds = max(1, math.ceil(wait_s))
        headers = {"Retry-After": str(seconds)}
        message += f" Try again in {seconds} s."
    return Refusal(429, message, kind=kind, code=_CODE, headers=headers, closes=True)
