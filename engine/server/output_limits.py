"""Limits of llama.cpp's API that end an output early: its indentation and the time of decoding.

Source: `process_token` in llama.cpp's tools/server/server-context.cpp. The engine does not know
these limits; they are applied to the stream of its chunks.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from engine.api import Chunk, FinishReason, Usage


class IndentLimit:
    """Ends a text before the first line, after the first, with fewer characters of indentation.

    White space is held back until the character after it arrives. Unlike in llama.cpp, empty lines
    do not count, and the white space before the line that is cut is cut too.
    """

    def __init__(self, minimum: int) -> None:
        """Create a limit; with a `minimum` of 0 it ends no text."""
        self._minimum = minimum
        self._pending = ""
        self.is_over = False
        """Whether the text has ended."""

    def add(self, text: str) -> str:
        """Return what may be shown, now that this text has arrived."""
        if self.is_over:
            return ""
        self._pending += text
        end = 0
        while (start := _first_visible(self._pending, end)) is not None:
            _, line_feed, indent = self._pending[end:start].rpartition("\n")
            if line_feed and len(indent) < self._minimum:
                self.is_over = True
                break
            end = start + 1
        shown, self._pending = self._pending[:end], self._pending[end:]
        return shown

    def rest(self) -> str:
        """Return what is still held back at the end of the output."""
        return "" if self.is_over else self._pending


def _first_visible(text: str, start: int) -> int | None:
    return next((i for i in range(start, len(text)) if not text[i].isspace()), None)


async def limited(
    chunks: AsyncGenerator[Chunk, None], num_prompt: int, min_indent: int, max_decode_ms: float
) -> AsyncGenerator[Chunk, None]:
    """Yield the chunks up to the first limit; the stream of the engine is closed there.

    `num_prompt` is the number of tokens of the prompt, for the usage of an output that a limit
    ends. `max_decode_ms` counts from the first chunk on, and ends the output with the next line
    feed; 0 is no limit.
    """
    indent = IndentLimit(min_indent)
    started, first, num_new = time.monotonic(), 0.0, 0
    async with aclosing(chunks):
        async for chunk in chunks:
            now = time.monotonic()
            first = first or now
            num_new += len(chunk.ids)
            text = indent.add(chunk.text) if min_indent else chunk.text
            if chunk.finish is not None and not indent.is_over:
                yield _with(chunk, text + indent.rest(), chunk.finish, chunk.usage)
                return
            is_late = max_decode_ms > 0 and (now - first) * 1000 > max_decode_ms
            if indent.is_over or (is_late and "\n" in chunk.text):
                usage = chunk.usage or Usage(
                    num_prompt, num_new, 0, (first - started) * 1000, (now - first) * 1000
                )
                yield _with(chunk, text, FinishReason.LENGTH, usage)
                return
            yield _with(chunk, text, None, None)


def _with(chunk: Chunk, text: str, finish: FinishReason | None, usage: Usage | None) -> Chunk:
    return Chunk(text, chunk.ids, chunk.logprobs, (), finish, usage)
