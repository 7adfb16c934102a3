"""JSON-RPC 2.0 messages as LSP 3.18 uses them: from bytes to a request, notification or response.

Error messages name what is wrong, and contain nothing of what was received.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NoReturn

from lsp_server.session.surrogates import well_formed

MessageId = str | int

_MAX_DEPTH = 100
"""Depth of nested values. Parsers of values, such as `repr`, are recursive."""


class ErrorCode(IntEnum):
    """The error codes of JSON-RPC and LSP that this server uses."""

    PARSE_ERROR = -32700
    INVALID_REQUEST = -32600
    METHOD_NOT_FOUND = -32601
    INVALID_PARAMS = -32602
    INTERNAL_ERROR = -32603
    NOT_INITIALIZED = -32002
    REQUEST_CANCELLED = -32800


class MessageError(Exception):
    """A message, or a request, that is answered with an error."""

    def __init__(self, code: ErrorCode, message: str, id_: MessageId | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.id = id_


@dataclass(frozen=True, slots=True)
class Request:
    """A message that gets exactly one answer."""

    id: MessageId
    method: str
    params: Any


@dataclass(frozen=True, slots=True)
class Notification:
    """A message that never gets an answer."""

    method: str
    params: Any


@dataclass(frozen=True, slots=True)
class Response:
    """The other side's answer to one of our requests; `error` is None if it succeeded."""

    id: MessageId | None
    result: Any
    error: Any


Message = Request | Notification | Response


def parse(body: bytes) -> Message:
    """Return the message in the body of a frame. Raises MessageError.

    A message without a method counts as a response also if it has no result, because JavaScript
    leaves out values that are undefined. Lone surrogates become U+FFFD, except in the text of
    documents: an editor can delete half of a surrogate pair and insert it again.
    """
    message = _parse_json(body)
    if not isinstance(message, dict):
        _refuse("A message must be one JSON object; batches are not part of LSP.")
    id_ = _parse_id(message.get("id"))
    if message.get("jsonrpc") != "2.0":
        if "id" not in message and isinstance(message.get("method"), str):
            return Notification("", None)  # of an unknown protocol: it is ignored
        _refuse("The member 'jsonrpc' must be \"2.0\".", id_)
    if "method" not in message:
        if "id" not in message:
            _refuse("The message has neither a method nor an id.")
        return Response(id_, message.get("result"), message.get("error"))
    method = message["method"]
    if not isinstance(method, str):
        _refuse("The member 'method' must be a string.", id_)
    has_text = method.startswith(("textDocument/did", "notebookDocument/did"))
    params = well_formed(message.get("params"), keep="text" if has_text else None)
    if "id" not in message:
        return Notification(method, params)
    if id_ is None:
        _refuse("The member 'id' must be a string or an integer.")
    return Request(id_, method, params)


def _parse_json(body: bytes) -> Any:
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise MessageError(ErrorCode.PARSE_ERROR, "The message is not JSON in UTF-8.") from None
    if _depth_exceeds(value, _MAX_DEPTH):
        raise MessageError(ErrorCode.PARSE_ERROR, "The message is nested too deeply.")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _depth_exceeds(value: Any, limit: int) -> bool:
    """Return whether lists and objects are nested more deeply than `limit`."""
    level = [value]
    for _ in range(limit):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return True


def _parse_id(value: Any) -> MessageId | None:
    """Return an id that can be sent back, else None. `1.0` is the same number as `1` in JSON."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, str | int) and not isinstance(value, bool) else None


def _refuse(message: str, id_: MessageId | None = None) -> NoReturn:
    raise MessageError(ErrorCode.INVALID_REQUEST, message, id_)
