"""A person types 200 characters into a large file: every request answered, no text lost."""

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
"""Longer than the server's pause after a key, so that requests do reach the engine."""


def large_file() -> str:
    lines = [f"value_{n} = {n}  # 🎉 line {n}\r\n" for n in range(2000)]
    lines[700] = "before = 1\x0cafter = 2\u2028still_this_line = 3\r\n"
    return "".join(lines)


async def type_all(editor: Editor, *, cancels: bool) -> list[Future[Any]]:
    """Type behind line 1,000; VS Code cancels the request before at each key, Neovim does not."""
    at = editor.text.index("value_1000")
    editor.insert(at, "\r\n")
    asked: list[Future[Any]] = []
    for number, character in enumerate(TYPED):
        if cancels and asked and not asked[-1].done():
            editor.client.cancel_request(types.CancelParams(f"key-{number - 1}"))
        editor.insert(at, character)
        at += len(character)
        asked.append(editor.ask(at, number=f"key-{number}"))
        await asyncio.sleep(SECONDS_PER_KEY)
    return asked


@pytest.mark.parametrize(
    ("name", "cancels", "encoding"),
    [("visual-studio-code", True, "utf-16"), ("neovim", False, "utf-8")],
)
async def test_typing_leaves_nothing_unanswered_and_nothing_lost(
    name: str, cancels: bool, encoding: str
) -> None:
    async with start(scripted("x" + ascii_letters, 0.01), editor=name) as editor:
        assert editor.encoding == encoding
        editor.open(large_file())
        asked = await type_all(editor, cancels=cancels)
        done = await asyncio.wait_for(
            asyncio.gather(*map(asyncio.wrap_future, asked), return_exceptions=True), 20
        )
        errors = [answer for answer in done if isinstance(answer, Exception)]
        assert all(isinstance(e, JsonRpcException) and e.code == -32800 for e in errors)
        assert bool(errors) is cancels  # only who cancels is answered with an error
        assert done[-1].items[0].insert_text.startswith("x")

        info = await editor.request("starcoder/debugInfo")
        (document,) = info["documents"]
        assert document["sha256"] == hashlib.sha256(editor.text.encode()).hexdigest()

        seen = await editor.request("test/requests")
        assert 1 <= len(seen["prompts"]) <= len(TYPED)
        # Whatever reached the engine and was superseded stopped there.
        assert seen["stoppedEarly"] >= len(seen["prompts"]) - 2
        # The last one wrote its 60 tokens, each before it few.
        assert seen["tokensWritten"] <= 60 + 10 * len(seen["prompts"])
