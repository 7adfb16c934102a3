"""Runs requests: collects or streams the output, and stops when the client disconnects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from engine.api import Chunk, EngineInfo, ScoringEngine, TokenLogprob, Usage
from engine.errors import StarcoderError
from engine.server import wire
from engine.server.users.threads import in_thread

STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
"""Headers of a streamed response, so that no proxy keeps it or waits for its end.

nginx reads the second one (documentation of `proxy_buffering`).
"""

T = TypeVar("T")


class ClientDisconnected(Exception):  # noqa: N818 - not an error: no client waits for a response
    """The client closed the connection."""


@dataclass(frozen=True, slots=True)
class Output:
    """The complete output of one request."""

    text: str
    ids: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...]
    finish: str
    usage: Usage


async def cancel_on_disconnect(request: Request, work: Awaitable[T]) -> T:
    """Return the result of `work`; cancel it and raise ClientDisconnected on a disconnect."""
    task: asyncio.Future[T] = asyncio.ensure_future(work)
    disconnect = asyncio.create_task(_wait_for_disconnect(request))
    both: list[asyncio.Future[T] | asyncio.Future[None]] = [task, disconnect]
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientDisconnected
    finally:
        for future in both:
            future.cancel()
        await asyncio.gather(*both, return_exceptions=True)


async def model_info(request: Request) -> EngineInfo:
    """Return the description of the model; stop waiting for the model on a disconnect.

    Clients that watch a server give up and ask again while it loads its model.
    """
    engine: ScoringEngine = request.app.state.engine
    return await cancel_on_disconnect(request, engine.info())


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def collect(chunks: AsyncGenerator[Chunk, None]) -> Output:
    """Return the complete output of a stream."""
    collected = []
    async with aclosing(chunks):
        async for chunk in chunks:
            collected.append(chunk)
    last = collected[-1]
    if last.finish is None or last.usage is None:
        raise StarcoderError("The engine's output ended without a finish reason; see its log.")
    return Output(
        "".join(chunk.text for chunk in collected),
        tuple(id_ for chunk in collected for id_ in chunk.ids),
        tuple(score for chunk in collected for score in chunk.logprobs),
        last.finish,
        last.usage,
    )


async def json_response(payload: Mapping[str, object]) -> Response:
    """Return a JSON response. Encoding a long one does not block other requests."""
    return Response(await in_thread(wire.encode, payload), media_type="application/json")


@dataclass(frozen=True, slots=True)
class Framing:
    """How the JSON objects of a stream are separated and how the stream ends."""

    media_type: str
    encode: Callable[[Mapping[str, object]], str]
    """Returns the text of one object."""
    end: str
    """Text after the last object."""
    error: Callable[[StarcoderError], Mapping[str, object]]
    """Returns the object that reports an error during the stream."""


OPENAI_EVENTS = Framing("text/event-stream", wire.event, wire.DONE, wire.error_body)


async def event_stream(
    request: Request,
    chunks: AsyncGenerator[Chunk, None],
    events: Callable[[Chunk], AsyncIterator[Mapping[str, object]]],
    framing: Framing = OPENAI_EVENTS,
) -> Response:
    """Return a response of server-sent events; `events` makes the payloads of a chunk.

    The first chunk is awaited before the response starts, so that a refused request can still get
    an HTTP error status.
    """
    first = await cancel_on_disconnect(request, anext(chunks))

    async def encode(chunk: Chunk) -> str:
        # All events of a chunk are sent together: each write is a system call on both sides.
        text = "".join([framing.encode(payload) async for payload in events(chunk)])
        return text if chunk.finish is None else text + framing.end

    if first.finish is not None:  # the complete output, as for most short ones
        async with aclosing(chunks):
            body = await encode(first)
            return Response(body, media_type=framing.media_type, headers=STREAM_HEADERS)

    async def content() -> AsyncGenerator[str, None]:
        async with aclosing(chunks):
            yield await encode(first)
            try:
                async for chunk in chunks:
                    yield await encode(chunk)
            except StarcoderError as error:
                yield framing.encode(framing.error(error))

    return StreamingResponse(content(), media_type=framing.media_type, headers=STREAM_HEADERS)
