"""Our own requests: parameters checked, errors told in the words that are meant for the user."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from lsprotocol import types
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel
from pygls.exceptions import JsonRpcException

from engine.errors import StarcoderError
from lsp_server.session.server import StarcoderServer

P = TypeVar("P", bound="Params")

ProgressToken = str | int


class Params(BaseModel):
    """Parameters of a request of ours, in camelCase on the wire."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)


class Point(Params):
    """A position, in the client's encoding."""

    line: int
    character: int

    @property
    def lsp(self) -> types.Position:
        """As lsprotocol has it."""
        return types.Position(self.line, self.character)


class Span(Params):
    """A range."""

    start: Point
    end: Point


def register(
    server: StarcoderServer,
    method: str,
    params: type[P],
    answer: Callable[[StarcoderServer, P], Awaitable[Any]],
) -> None:
    """Answer `method` with what `answer` returns, which must be plain JSON."""

    async def handle(sent: Any) -> Any:
        try:
            checked = params.model_validate(plain(sent) or {})
        except ValidationError as error:
            raise JsonRpcException(_what_is_wrong(error), _INVALID_PARAMS) from None
        try:
            return await answer(server, checked)
        except StarcoderError as error:
            raise JsonRpcException(error.user_message, error.lsp_code) from error

    server.feature(method)(handle)


_INVALID_PARAMS = -32602


def _what_is_wrong(error: ValidationError) -> str:
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    return f"The parameter {field!r} cannot be used: {first['msg']}."


def plain(value: Any) -> Any:
    """Turn pygls' anonymous objects into mappings."""
    if hasattr(value, "_asdict"):
        return {key: plain(inner) for key, inner in value._asdict().items()}
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return value
