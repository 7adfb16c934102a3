"""Reads and validates the bodies of requests."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from starlette.requests import ClientDisconnect, Request

from engine.errors import RequestError, value_problem
from engine.server.limits import BODY_SECONDS, MAX_BODY_BYTES, MAX_SCORES
from engine.server.operation.request_record import record_of
from engine.server.refusal import Refusal
from engine.server.responses import ClientDisconnected, cancel_on_disconnect
from engine.server.schema import ChatContent, ChatMessage, StreamOptions

Body = TypeVar("Body", bound=BaseModel)

_JSON = "application/json"
_NESTED_FIELDS = frozenset(
    {*ChatMessage.model_fields, *ChatContent.model_fields, *StreamOptions.model_fields}
)
"""Names of fields within fields."""


async def parse_body(request: Request, model: type[Body]) -> Body:
    """Return the validated body.

    Raises RequestError that names the invalid or unsupported field, and Refusal for a body that is
    too large, too slow or not JSON.
    """
    _check_content_type(request)
    content = await _read(request)
    await _wait_for_turn(request, len(content))
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        raise _refused(error) from None


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


def _refused(error: ValidationError) -> RequestError:
    """Return a sentence on the first of pydantic's errors."""
    errors = error.errors(include_url=False, include_input=False)
    first = errors[0]
    if not first["loc"]:
        is_json = first["type"] != "json_invalid"
        problem = "is not a JSON object" if is_json else "is not valid JSON"
        return RequestError(f"The request {problem}.")
    # Of a union there is one error for each type that pydantic tried, whose name it puts after the
    # field's own name. The type that fits furthest is the one that the client means.
    name = first["loc"][0]
    furthest = max((each for each in errors if each["loc"][0] == name), key=_progress)
    rest = [str(part) for part in furthest["loc"][1:] if _is_place(part)]
    field = ".".join([str(name), *rest])
    return RequestError(f"The request's field {field!r} cannot be used: {value_problem(furthest)}.")


def _progress(error: ErrorDetails) -> tuple[int, list[int]]:
    location = error["loc"]
    return len(location), [part for part in location if isinstance(part, int)]


def _is_place(part: int | str) -> bool:
    return isinstance(part, int) or part in _NESTED_FIELDS


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


async def _wait_for_turn(request: Request, num_bytes: int) -> None:
    """Wait while the user's bodies have taken more of the server's time than is fair."""
    account = record_of(request.scope).account
    assert account is not None
    async with account.body_turn(num_bytes) as wait_s:
        if wait_s:
            await cancel_on_disconnect(request, asyncio.sleep(wait_s))


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
