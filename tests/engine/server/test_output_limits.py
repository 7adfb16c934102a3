"""llama.cpp's limits of indentation and time."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.api import Chunk, FinishReason, Usage
from engine.server.output_limits import IndentLimit, limited

USAGE = Usage(5, 9, 2, 1.0, 2.0)


def shown(text: str, minimum: int, sizes: list[int] | None = None) -> str:
    """Return what is shown of a text that arrives in pieces of these sizes."""
    limit, result, start = IndentLimit(minimum), "", 0
    for size in [*(sizes or []), len(text)]:
        result += limit.add(text[start : start + size])
        start += size
    return result + limit.rest()


@pytest.mark.parametrize(
    ("minimum", "text", "expected"),
    [
        (4, "x = 1\n    y\nz", "x = 1\n    y"),
        (4, "x = 1\n    y\n   z", "x = 1\n    y"),
        (4, "x\n    y\n\n    z\n", "x\n    y\n\n    z\n"),
        (4, "x\n\ty", "x"),
        (1, "x\n\ty", "x\n\ty"),
        (4, "no line feed", "no line feed"),
        (4, "    indented\n      more", "    indented\n      more"),
        (0, "x\ny", "x\ny"),
        (2, "\n\nx", ""),
        (2, "  \n", "  \n"),
    ],
)
def test_a_line_with_too_little_indentation_ends_the_text(
    minimum: int, text: str, expected: str
) -> None:
    assert shown(text, minimum) == expected


@given(
    text=st.text("ab \t\n", max_size=40),
    minimum=st.integers(0, 5),
    sizes=st.lists(st.integers(1, 5), max_size=20),
)
def test_the_pieces_do_not_matter_and_no_shown_line_is_short(
    text: str, minimum: int, sizes: list[int]
) -> None:
    result = shown(text, minimum, sizes)
    assert result == shown(text, minimum)
    assert text.startswith(result)
    for line in result.split("\n")[1:]:
        assert not line.strip() or len(line) - len(line.lstrip()) >= minimum


async def stream(*texts: str, seconds: float = 0.0) -> AsyncGenerator[Chunk, None]:
    for number, text in enumerate(texts):
        await asyncio.sleep(seconds)
        is_last = number == len(texts) - 1
        finish = FinishReason.STOP if is_last else None
        yield Chunk(text, (1, 2), (), (), finish, USAGE if is_last else None)


async def collected(
    chunks: AsyncGenerator[Chunk, None], min_indent: int = 0, max_ms: float = 0
) -> tuple[str, Chunk]:
    text = ""
    async with aclosing(limited(chunks, 5, min_indent, max_ms)) as result:
        async for chunk in result:
            text += chunk.text
    return text, chunk


async def test_without_limits_the_stream_is_the_same() -> None:
    text, last = await collected(stream("a\n", "b"))
    assert (text, last.finish, last.usage) == ("a\nb", FinishReason.STOP, USAGE)


async def test_white_space_at_the_end_is_not_lost() -> None:
    text, last = await collected(stream("a\n", "    b", "\n  "), min_indent=4)
    assert text == "a\n    b\n  "
    assert last.finish is FinishReason.STOP


async def test_a_cut_output_has_a_usage_and_closes_the_stream() -> None:
    chunks = stream("a\n", "    b\n", "c", "d", "e")
    text, last = await collected(chunks, min_indent=4)
    assert text == "a\n    b"
    assert last.finish is FinishReason.LENGTH
    assert last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (5, 6)
    with pytest.raises(StopAsyncIteration):
        await anext(chunks)


async def test_a_cut_in_the_last_chunk_keeps_its_usage() -> None:
    text, last = await collected(stream("a\n", "b"), min_indent=1)
    assert (text, last.finish, last.usage) == ("a", FinishReason.LENGTH, USAGE)


async def test_after_the_time_limit_the_next_line_feed_ends_the_output() -> None:
    pieces = ["a", "b\n", *["c"] * 5, "d\n", *["e"] * 5]
    text, last = await collected(stream(*pieces, seconds=0.03), max_ms=100)
    assert text == "ab\ncccccd\n"
    assert last.finish is FinishReason.LENGTH
    assert last.usage is not None
    assert last.usage.decode_ms >= 100


async def test_without_a_line_feed_the_time_limit_cuts_nothing() -> None:
    text, last = await collected(stream(*"abcdef", seconds=0.02), max_ms=1)
    assert (text, last.finish) == ("abcdef", FinishReason.STOP)
