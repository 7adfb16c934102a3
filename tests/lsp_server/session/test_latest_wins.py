"""A newer request of a document replaces the older one."""

import asyncio

import pytest

from lsp_server.session.latest_wins import LatestWins


async def never() -> str:
    await asyncio.Event().wait()
    return "never"


async def immediately() -> str:
    return "result"


async def test_a_newer_request_for_the_same_key_cancels_the_older_one() -> None:
    requests = LatestWins()
    older = asyncio.create_task(requests.run("a.py", never()))
    await asyncio.sleep(0)
    assert await requests.run("a.py", immediately()) == "result"
    assert await older is None


async def test_requests_for_other_keys_are_independent() -> None:
    requests = LatestWins()
    other = asyncio.create_task(requests.run("b.py", never()))
    await asyncio.sleep(0)
    assert await requests.run("a.py", immediately()) == "result"
    assert not other.done()
    requests.cancel("b.py")
    assert await other is None


async def test_cancelling_the_caller_cancels_the_work() -> None:
    requests = LatestWins()
    is_cancelled = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            is_cancelled.set()

    caller = asyncio.create_task(requests.run("a.py", work()))
    await asyncio.sleep(0.01)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert is_cancelled.is_set()
