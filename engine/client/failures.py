"""Error responses of servers with OpenAI's API, as exceptions with a message for the user.

The message of the server is kept, whatever its shape:

- OpenAI, llama.cpp and this project: `{"error": {"message": ..., "type": ...}}`;
- vLLM before 0.10: `{"object": "error", "message": ..., "type": ...}`;
- Ollama: `{"error": TEXT}`;
- FastAPI, on which many servers are built: `{"detail": TEXT}`, or a list of problems with `msg`;
- what stands before a server (nginx, a proxy, a login page): HTML, or plain text.
"""

from __future__ import annotations

import html
import json
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from engine.errors import (
    ConfigurationError,
    EngineBusyError,
    EngineUnavailableError,
    ModelError,
    RequestError,
    StarcoderError,
    error_from_wire,
    is_own_kind,
)

_MAX_CHARACTERS = 300
"""Length at which the message of a server is cut."""
_OTHER_FAILURES = (ModelError, EngineUnavailableError, EngineBusyError)
"""Errors with a status from 500 on that mean what they say; any other means an unusable engine."""
_TITLE = re.compile(r"<(title|h1)[^>]*>(.*?)</\1", re.I | re.S)
_TAG = re.compile(r"<(script|style).*?</\1[^>]*>|<[^>]*>", re.I | re.S)
_TRUNCATED_MESSAGE = re.compile(r'"(?:message|detail|error)"\s*:\s*"((?:[^"\\]|\\.)*)')


def raise_for_status(
    status: int, content: bytes, server: str, headers: Mapping[str, str] | None = None
) -> None:
    """Raise the error that a response describes, if its status is an error or a redirect.

    `server` names the server in the message, such as its URL. The names of `headers` are in lower
    case, or the mapping ignores case.
    """
    headers = headers or {}
    if 300 <= status < 400:
        raise _redirected(status, headers.get("location", ""), server)
    if status >= 400:
        error = read_error(_parse(content), status, server)
        error.retry_after_s = retry_after_s(headers.get("retry-after", ""))
        raise error


def retry_after_s(value: str) -> float | None:
    """Return the seconds in a header `Retry-After`, None if it has none that can be used.

    It contains seconds or a date (RFC 9110, section 10.2.3).
    """
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return seconds if 0 <= seconds < float("inf") else None


def not_openai(server: str) -> EngineUnavailableError:
    """Return the error for a response in which nothing of OpenAI's API can be read."""
    return EngineUnavailableError(
        f"{server} does not answer as OpenAI's API does. Set starcoder.engineUrl to the address of "
        "a server that does."
    )


def _redirected(status: int, location: str, server: str) -> ConfigurationError:
    """Return the error for a redirect. A request is never sent on: it contains the user's text."""
    try:
        target = urlsplit(location)
        # Its query may contain a secret.
        place = f"{target.scheme}://{target.hostname}" if target.hostname else target.path
    except ValueError:
        place = ""
    to = f" to {_shorten(place)}" if place else ""
    return ConfigurationError(
        f"The server at {server} redirects{to} (HTTP {status}), as a login page or a proxy does. "
        "Set starcoder.engineUrl to the address of the engine itself."
    )


def read_error(body: Any, status: int, server: str) -> StarcoderError:
    """Return the exception for an error response: parsed JSON, or the text if it is not JSON."""
    message = message_in(body)
    kind = _kind_in(body)
    if is_own_kind(kind) and status != 401:
        error = error_from_wire(kind, message or f"The engine answered with HTTP {status}.")
        if status >= 500 and not isinstance(error, _OTHER_FAILURES):
            return EngineUnavailableError(error.user_message)
        if type(error) is not RequestError:
            return error
    return _by_status(status, message, server)


def _by_status(status: int, message: str, server: str) -> StarcoderError:
    said = f": {message.rstrip('.')}." if message else "."
    if status in (401, 407):
        if "starcoder.engineToken" in message:
            return ConfigurationError(message)
        return ConfigurationError(
            f"The server at {server} does not accept the access token (HTTP {status}){said} Set "
            "starcoder.engineToken to a token that it accepts."
        )
    if status == 403:
        return ConfigurationError(
            f"The server at {server} refuses access (HTTP 403){said} Set starcoder.engineToken to "
            "a token that may use it."
        )
    if status == 404:
        return ConfigurationError(
            f"The server at {server} does not have what was asked for (HTTP 404){said} Set "
            "starcoder.engineUrl to the address of its API, and starcoder.engineModel to a model "
            "that it has."
        )
    if status == 429:
        return EngineBusyError(
            f"The server at {server} accepts no more requests for now (HTTP 429){said} Wait, or "
            "set starcoder.engineToken to a token with a higher limit."
        )
    if status >= 500 or not message:
        advice = " Check it, or set starcoder.engineUrl to another." if "://" in server else ""
        return EngineUnavailableError(
            f"The server at {server} failed (HTTP {status}){said}{advice}"
        )
    return RequestError(message)


def message_in(body: Any) -> str:
    """Return the message of an error response; empty if there is none."""
    if isinstance(body, str):
        return _shorten(_text_of(body))
    if isinstance(body, list):
        return next(filter(None, map(message_in, body[:5])), "")
    if not isinstance(body, dict):
        return ""
    for name in ("error", "message", "detail", "msg", "error_description"):
        value = body.get(name)
        if isinstance(value, str | dict | list) and (message := message_in(value)):
            return message
    return ""


def _kind_in(body: Any) -> str:
    error = body.get("error") if isinstance(body, dict) else None
    kind = error.get("type") if isinstance(error, dict) else None
    return kind if isinstance(kind, str) else ""


def _parse(content: bytes) -> Any:
    text = content.decode("utf-8", "replace")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    # A proxy may have cut it.
    if text.lstrip()[:1] in ("{", "[") and (match := _TRUNCATED_MESSAGE.search(text)):
        try:
            return {"message": json.loads(f'"{match[1]}"')}
        except ValueError:
            return {"message": match[1]}
    return "" if text.lstrip()[:1] in ("{", "[") else text


def _text_of(text: str) -> str:
    """Return what a person reads of a page; plain text stays as it is."""
    if "<" not in text or re.search(r"<\s*[a-z!/]", text, re.I) is None:
        return text
    heading = _TITLE.search(text)
    return html.unescape(_TAG.sub(" ", heading[2] if heading is not None else text))


def _shorten(text: str) -> str:
    words = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return words if len(words) <= _MAX_CHARACTERS else f"{words[:_MAX_CHARACTERS]}..."
