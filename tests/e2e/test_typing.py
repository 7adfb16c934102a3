"""A user types 200 characters into a large file: each request is answered, no text is lost."""

import asyncio
import hashlib
from concurrent.futures import Future
from string import ascii_letters
from typing import Any

import pytest
from lsprotocol import types
from pygls.exceptions import JsonRpcException

from tests.e2e.client import Editor, scripted, start

TYPED = (
    "total = 0\nfor number in numbers:\n    total += number  # 😀 sums\nprint('é', total)\n" * 3
)[:200]
SECONDS_PER_KEY = 0.04
"""Seconds between two keys: more than the debounce delay, so that requests reach the engine."""


def large_file() -> str:
    lines = [f"value_{n} = {n}  # 🎉 line {n}\r\n" for n in range(2000)]
    lines[700] = "before = 1\x0cafter = 2\u2028still_this_line = 3\r\n"
    return "".join(lines)


async def type_all(editor: Editor, *, cancels: bool) -> list[Future[Any]]:
    """Type in line 1,000. VS Code cancels the previous request at each key, Neovim does not."""
    offset = editor.text.index("value_1000")
    editor.insert(offset, "\r\n")
    futures: list[Future[Any]] = []
    for number, character in enumerate(TYPED):
        if cancels and futures and not futures[-1].done():
            editor.client.cancel_request(types.CancelParams(f"key-{number - 1}"))
        editor.insert(offset, character)
        offset += len(character)
        futures.append(editor.request_completion(offset, request_id=f"key-{number}"))
        await asyncio.sleep(SECONDS_PER_KEY)
    return futures


@pytest.mark.parametrize(
    ("name", "cancels", "encoding"),
    [("visual-studio-code", True, "utf-16"), ("neovim", False, "utf-8")],
)
async def test_each_request_is_answered_and_no_text_is_lost_while_typing(
    name: str, cancels: bool, encoding: str
) -> None:
    # The typed text repeats itself, so the memory of the project would suggest it.
    settings = {"projectMemory": False}
    command = scripted("x" + ascii_letters, 0.01)
    async with start(command, editor=name, settings=settings) as editor:
        assert editor.encoding == encoding
        editor.open(large_file())
        futures = await type_all(editor, cancels=cancels)
        answers = await asyncio.wait_for(
            asyncio.gather(*map(asyncio.wrap_future, futures), return_exceptions=True), 20
        )
        errors = [answer for answer in answers if isinstance(answer, Exception)]
        assert all(isinstance(e, JsonRpcException) and e.code == -32800 for e in errors)
        assert bool(errors) is cancels  # only cancelled requests are answered with an error
        assert answers[-1].items[0].insert_text.startswith("x")

        info = await editor.request("starcoder/debugInfo")
        (document,) = info["documents"]
        assert document["sha256"] == hashlib.sha256(editor.text.encode()).hexdigest()

        requests = await editor.engine_requests()
        assert 1 <= len(requests["prompts"]) <= len(TYPED)
        # Requests that reached the engine and were superseded were stopped there.
        assert requests["stoppedEarly"] >= len(requests["prompts"]) - 2
        # The last request generated 60 tokens, each request before it only a few.
        assert requests["tokensWritten"] <= 60 + 10 * len(requests["prompts"])
