"""Running requests: an answer whole or streamed, stopped when nobody waits for it any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from engine.api import Chunk, EngineInfo, TokenLogprob, Usage
from engine.errors import RequestError, StarcoderError
from engine.server import wire
from engine.server.schema import AnyRequest

_EVENT_STREAM = "text/event-stream"

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)


class Gone(Exception):  # noqa: N818 - nobody is left to tell
    """The client closed the connection."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A finished answer."""

    text: str
    ids: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...]
    finish: str
    usage: Usage


async def parse(request: Request, model: type[M]) -> M:
    """Return the body as a checked request; raises RequestError naming the field."""
    try:
        return model.model_validate_json(await request.body())
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise RequestError(
            f"The request's field {field!r} cannot be used: {first['msg']}."
            if field
            else f"The request is not valid JSON: {first['msg']}."
        ) from None


async def unless_gone(request: Request, work: Coroutine[Any, Any, T] | Awaitable[T]) -> T:
    """Await `work`, but cancel it and raise Gone when the client closes the connection."""
    task: asyncio.Future[T] = asyncio.ensure_future(work)
    gone = asyncio.create_task(_disconnected(request))
    both: list[asyncio.Future[Any]] = [task, gone]
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise Gone
    finally:
        for waiting in both:
            waiting.cancel()
        await asyncio.gather(*both, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def whole(stream: AsyncGenerator[Chunk, None]) -> Answer:
    """Collect a stream."""
    chunks = []
    async with aclosing(stream):
        async for chunk in stream:
            chunks.append(chunk)
    last = chunks[-1]
    if last.finish is None or last.usage is None:
        raise StarcoderError("The engine ended an answer without a reason.")
    return Answer(
        "".join(chunk.text for chunk in chunks),
        tuple(id_ for chunk in chunks for id_ in chunk.ids),
        tuple(score for chunk in chunks for score in chunk.logprobs),
        last.finish,
        last.usage,
    )


async def streamed(
    request: Request,
    stream: AsyncGenerator[Chunk, None],
    write: Callable[[Chunk], AsyncIterator[dict[str, Any]]],
) -> Response:
    """Return a response of server-sent events, what `write` makes of each chunk.

    The first chunk is awaited before the response begins, so that a refused request still has its
    status.
    """
    first = await unless_gone(request, anext(stream))

    async def events(chunk: Chunk) -> str:
        """All of a chunk in one piece: each piece is a call of the system on both sides."""
        told = "".join([wire.event(payload) async for payload in write(chunk)])
        return told if chunk.finish is None else told + wire.DONE

    if first.finish is not None:  # all of it, as short answers mostly come
        async with aclosing(stream):
            return Response(await events(first), media_type=_EVENT_STREAM)

    async def pieces() -> AsyncGenerator[str, None]:
        async with aclosing(stream):
            yield await events(first)
            try:
                async for chunk in stream:
                    yield await events(chunk)
            except StarcoderError as error:
                yield wire.event(wire.error_body(error))

    return StreamingResponse(pieces(), media_type=_EVENT_STREAM)


def adapter_name(info: EngineInfo, asked: AnyRequest) -> str | None:
    """Return the adapter that a request wants, by its own field or as the model's name."""
    if asked.adapter or not asked.model:
        return asked.adapter
    return asked.model if asked.model != info.model and asked.model in info.adapters else None
