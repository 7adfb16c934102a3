"""Cancellations at random moments: each request is answered once, and the engine stops its work."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass

from benchmarks.light_editor import LightEditor, OpenDocument
from benchmarks.robustness.engines import SharedEngine

_DOCUMENTS = 6
"""Documents in each editor. Requests for different documents do not replace each other."""
_DELAYS_S = (0.0, 0.001, 0.005, 0.02, 0.08, 0.3)
"""Seconds from a request to its cancellation: in the queue, during the prefill, between two tokens,
or after the response."""
_SHARE_TWICE, _SHARE_CHAT = 0.3, 0.1
_ANSWER_TIMEOUT_S = 60.0
_IDLE_TIMEOUT_S = 10.0


@dataclass
class CancellationResult:
    """What became of the cancelled requests."""

    requests: int = 0
    cancelled_errors: int = 0
    """Responses with the error that LSP defines for a cancelled request."""
    results: int = 0
    """Responses with a result: the cancellation came too late, or a newer request replaced it."""
    refused: int = 0
    """Responses with another error: a conversation takes one question at a time."""
    unanswered: int = 0
    answered_twice: int = 0
    tokens_afterwards: int = 0
    """Tokens that the engine computed after the last response: at most a step or two."""
    idle_after_s: float = 0.0
    """Seconds from the last response to an idle engine."""
    caches_kept: int = 0
    """KV caches that requests still hold when the engine should be idle."""


_REQUEST_CANCELLED = -32800
"""The code of LSP for a request that the client has cancelled (section ErrorCodes)."""


async def cancel_randomly(shared: SharedEngine, count: int, seed: int = 0) -> CancellationResult:
    """Send `count` requests from all editors, and cancel each at a random moment."""
    result = CancellationResult()
    per_editor = -(-count // len(shared.editors))
    await asyncio.gather(
        *(
            _cancel_in(editor, per_editor, random.Random(seed + number), result)
            for number, editor in enumerate(shared.editors)
        )
    )
    result.answered_twice = sum(editor.num_unexpected for editor in shared.editors)
    await _wait_until_idle(shared, result)
    return result


async def _cancel_in(
    editor: LightEditor, count: int, rng: random.Random, result: CancellationResult
) -> None:
    documents = [_open(editor, number) for number in range(_DOCUMENTS)]
    chat = (await editor.request("starcoder/chat/create", {}))["id"]
    pending: set[asyncio.Task[None]] = set()
    for number in range(count):
        editor.document = rng.choice(documents)
        if rng.random() < _SHARE_CHAT:
            params = {"conversation": chat, "text": f"What is {number}?"}
            request = editor.send_request("starcoder/chat/send", params)
        else:
            editor.press(rng.choice("etaoin =(\n"))
            request = editor.request_completion(invoked=rng.random() < 0.2)
        result.requests += 1
        pending.add(asyncio.create_task(_cancel(editor, request, rng, result)))
        if len(pending) >= _DOCUMENTS:
            _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
    if pending:
        await asyncio.wait(pending)
    await editor.request("starcoder/chat/delete", {"conversation": chat})


def _open(editor: LightEditor, number: int) -> OpenDocument:
    lines = "".join(f"value_{line} = compute({line}, {number})\n" for line in range(60))
    text = f"def compute(x, y):\n    return x * y\n\n{lines}result = "
    document = OpenDocument(f"file:///cancelled/{number}.py", "python", text, len(text))
    editor.show_new(document)
    return document


async def _cancel(
    editor: LightEditor, request: int, rng: random.Random, result: CancellationResult
) -> None:
    """Cancel a request after a random time, and count its response."""
    await asyncio.sleep(rng.choice(_DELAYS_S) * rng.uniform(0.5, 1.5))
    for _ in range(2 if rng.random() < _SHARE_TWICE else 1):
        editor.cancel(request)
    try:
        async with asyncio.timeout(_ANSWER_TIMEOUT_S):
            response = await editor.response(request)
    except TimeoutError:
        result.unanswered += 1
        return
    error = response.get("error")
    if error is None:
        result.results += 1
    elif error.get("code") == _REQUEST_CANCELLED:
        result.cancelled_errors += 1
    else:
        result.refused += 1


async def _wait_until_idle(shared: SharedEngine, result: CancellationResult) -> None:
    started = time.monotonic()
    first = metrics = await shared.metrics()
    while not metrics.is_idle and time.monotonic() - started < _IDLE_TIMEOUT_S:
        await asyncio.sleep(0.01)
        metrics = await shared.metrics()
    result.idle_after_s = time.monotonic() - started
    result.caches_kept = metrics.caches_in_use
    await asyncio.sleep(0.5)  # nothing may start later
    result.tokens_afterwards = (await shared.metrics()).computed_tokens - first.computed_tokens
