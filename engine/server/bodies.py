"""Reads and validates the bodies of requests."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from engine.errors import RequestError
from engine.server.limits import BODY_SECONDS, MAX_BODY_BYTES, MAX_SCORES
from engine.server.refusal import Refusal
from engine.server.responses import ClientDisconnected

Body = TypeVar("Body", bound=BaseModel)

_JSON = "application/json"


async def parse_body(request: Request, model: type[Body]) -> Body:
    """Return the validated body.

    Raises RequestError that names the invalid field, and Refusal for a body that is too large, too
    slow or not JSON.
    """
    _check_content_type(request)
    content = await _read(request)
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise RequestError(
            f"The request's field {field!r} cannot be used: {first['msg']}."
            if field
            else f"The request is not valid JSON: {first['msg']}."
        ) from None


def _check_content_type(request: Request) -> None:
    # A web page may send other types to any address without asking the server first (Fetch
    # standard, "CORS-safelisted request-header").
    received = request.headers.get("content-type", "")
    if received.partition(";")[0].strip().lower() != _JSON:
        raise Refusal(
            415,
            f"The body must be JSON: send the header Content-Type: {_JSON}.",
            code="unsupported_media_type",
            closes=True,
        )


async def _read(request: Request) -> bytes:
    """Return the body, and stop reading where it becomes too large or takes too long."""
    size = request.headers.get("content-length", "")
    if size.isdigit() and int(size) > MAX_BODY_BYTES:
        raise _too_large()
    pieces, num_bytes = [], 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in request.stream():
                num_bytes += len(piece)
                if num_bytes > MAX_BODY_BYTES:
                    raise _too_large()
                pieces.append(piece)
    except TimeoutError:
        raise Refusal(
            408,
            f"The body did not arrive within {BODY_SECONDS:.0f} s. Send it faster.",
            code="request_timeout",
            closes=True,
        ) from None
    except ClientDisconnect:
        raise ClientDisconnected from None
    return b"".join(pieces)


def check_scores(num_tokens: int, num_top: int | None) -> None:
    """Raise RequestError if the log-probabilities of `num_tokens` tokens would be too many.

    `num_top` is the number of alternatives per token, None for no log-probabilities.
    """
    if num_top is not None and num_tokens * (1 + num_top) > MAX_SCORES:
        raise RequestError(
            f"The response would have more than {MAX_SCORES:,} log-probabilities. Ask for fewer "
            "alternatives (logprobs), fewer tokens or a shorter prompt."
        )


def _too_large() -> Refusal:
    return Refusal(
        413,
        f"The body is larger than {MAX_BODY_BYTES:,} bytes. Send less text, or fewer prompts.",
        code="body_too_large",
        closes=True,
    )
