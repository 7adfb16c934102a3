"""Whether a server generates, which a list of its models does not prove."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from engine.api import GenerationRequest, Priority
from engine.client.http import HttpEngine
from engine.client.unreachable import silent_server
from engine.errors import RequestError

_OUTPUT_S = 10.0
"""Seconds after which a server that has not generated one token counts as hung."""


async def check_output(http: HttpEngine) -> None:
    """Raise the server's error if it does not generate a token."""
    prompt = tuple((await http.tokenizer()).encode("x ="))
    request = GenerationRequest(prompt, 1, priority=Priority.PREFETCH)
    try:
        async with asyncio.timeout(_OUTPUT_S), aclosing(http.stream(request)) as chunks:
            async for _ in chunks:
                pass
    except TimeoutError:
        raise silent_server(http.endpoint.url) from None
    except RequestError:
        pass  # it answers
