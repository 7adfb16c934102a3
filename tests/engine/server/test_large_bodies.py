"""Bodies of megabytes: a prompt that cannot fit is not encoded, and no user delays the others."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from engine.scripted import ScriptedEngine
from engine.server.limits import BODY_BURST_BYTES, BODY_BYTES_PER_S
from engine.server.users.accounts import Account, Limits
from engine.server.users.guard import KeyRing
from engine.server.users.key_file import StoredLimits, create_key
from engine.tokenizer import Tokenizer
from tests.engine.server.serving import OUTPUT, serving, until

WINDOW = 200
LONG = "x = 1\n" * 100_000
MESSAGES = [{"role": "user", "content": LONG}]
SHORT = {"prompt": "x", "max_tokens": 2}


class Clock:
    """A clock that the test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


Encode = Callable[[Tokenizer, str], list[int]]


def recording(encode: Encode, encoded: list[int]) -> Encode:
    """Return the same method, which also records how long the texts are."""

    def encode_and_record(tokenizer: Tokenizer, text: str) -> list[int]:
        encoded.append(len(text))
        return encode(tokenizer, text)

    return encode_and_record


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"prompt": LONG}),
        ("/v1/completions", {"prompt": LONG, "parse_special": True}),
        ("/v1/completions", {"prompt": f"<fim_prefix>{LONG}<fim_suffix><fim_middle>"}),
        ("/v1/completions", {"prompt": ["x", LONG]}),
        ("/v1/completions", {"prompt": [7] * 600_000}),
        ("/v1/chat/completions", {"messages": MESSAGES}),
        ("/completion", {"prompt": LONG}),
        ("/api/generate", {"model": "scripted", "prompt": LONG}),
        ("/api/chat", {"model": "scripted", "messages": MESSAGES}),
    ],
)
async def test_a_prompt_that_cannot_fit_is_refused_before_it_is_encoded(
    monkeypatch: pytest.MonkeyPatch, path: str, body: dict[str, object]
) -> None:
    encoded: list[int] = []
    for name in ("encode", "encode_with_special"):
        monkeypatch.setattr(Tokenizer, name, recording(getattr(Tokenizer, name), encoded))
    engine = ScriptedEngine(lambda _: OUTPUT, context_window=WINDOW)
    async with serving(engine) as endpoint, httpx2.AsyncClient(base_url=endpoint.url) as client:
        response = await client.post(path, json=body, timeout=20)
    assert response.status_code == 400
    assert f"{WINDOW - 1} prompt tokens" in response.text
    assert max(encoded, default=0) < 1000
    assert not engine.requests


async def test_the_longest_prompt_that_may_fit_is_encoded() -> None:
    engine = ScriptedEngine(lambda _: OUTPUT, context_window=WINDOW)
    async with serving(engine) as endpoint, httpx2.AsyncClient(base_url=endpoint.url) as client:
        body = {"prompt": "<|endoftext|>" * (WINDOW - 1), "parse_special": True}
        response = await client.post("/v1/completions", json=body)
        assert response.status_code == 200
        assert len(engine.requests[0].prompt) == WINDOW - 1


async def hang_up(account: Account, num_bytes: int) -> None:
    async with account.body_turn(num_bytes):
        raise asyncio.CancelledError


async def test_bodies_are_read_at_a_limited_rate_after_a_burst() -> None:
    clock = Clock()
    account = Account("alice", Limits(), clock)
    burst, rate = BODY_BURST_BYTES, BODY_BYTES_PER_S
    for wait_s in (0.0, 0.0, burst / rate):
        async with account.body_turn(burst) as seconds:
            assert seconds == pytest.approx(wait_s)
    clock.now += 2 * burst / rate
    with pytest.raises(asyncio.CancelledError):
        await hang_up(account, burst)
    clock.now += 1.0
    async with account.body_turn(1) as seconds:  # the cancelled one took nothing
        assert seconds == 0.0


async def test_the_only_user_does_not_wait() -> None:
    account = Account("", Limits(), Clock())
    for _ in range(100):
        async with account.body_turn(BODY_BURST_BYTES) as seconds:
            assert seconds == 0.0


async def test_only_the_user_of_large_bodies_waits(
    engine: ScriptedEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.server.users.accounts.BODY_BURST_BYTES", 1000)
    monkeypatch.setattr("engine.server.users.accounts.BODY_BYTES_PER_S", 1000)
    path = tmp_path / "keys.json"
    alice, bob = (create_key(path, name, StoredLimits()) for name in ("alice", "bob"))
    async with (
        serving(engine, keys=KeyRing(path)) as endpoint,
        httpx2.AsyncClient(base_url=endpoint.url, timeout=20) as client,
    ):

        async def complete(key: str, prompt: str = "x") -> float:
            started = time.monotonic()
            headers = {"Authorization": f"Bearer {key}"}
            body = {**SHORT, "prompt": prompt}
            assert (await client.post("/v1/completions", json=body, headers=headers)).is_success
            return time.monotonic() - started

        await complete(alice, "x" * 5000)
        waiting = asyncio.create_task(complete(alice, "second"))
        leaving = asyncio.create_task(complete(alice, "x" * 50_000))
        await complete(bob)
        assert not waiting.done()
        leaving.cancel()
        assert 1.0 < await waiting < 15.0
        assert len(engine.requests) == 3
        await until(lambda: leaving.done())
        assert await complete(alice) < 15.0  # not 50 s: nobody reads the body of one who has gone
