"""The custom part of the protocol: names on the wire, and parameter types that requests share."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from lsprotocol import types
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel
from pygls.exceptions import JsonRpcException

STATUS_METHOD = "starcoder/status"
"""Our notification about the server's state; clients that do not know it ignore it."""
ACCEPTED_COMMAND = "starcoder.accepted"
"""The command that reports that a suggestion was accepted."""
TASK_COMMAND = "starcoder.task"
"""The command that performs a task and applies its edit."""
FORGET_CONSENT_COMMAND = "starcoder.forgetConsent"
"""The command that forgets the user's answers to whether generated code may run."""

INVALID_PARAMS = -32602
"""Error code of JSON-RPC for invalid parameters."""

P = TypeVar("P", bound="Params")

UInteger = Annotated[int, Field(ge=0, lt=2**31)]
"""A number of a line or character (LSP 3.18, `uinteger`)."""
ProgressToken = str | int
TaskName = Literal["tests", "explain", "document", "fix", "edit", "translate", "review"]


class Params(BaseModel):
    """Base class of the parameters of our requests, in camelCase on the wire."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)


class NoParams(Params):
    """The parameters of a request that needs none."""


class PositionParams(Params):
    """A position in the client's encoding."""

    line: UInteger
    character: UInteger

    def to_lsp(self) -> types.Position:
        """Return the position as lsprotocol defines it."""
        return types.Position(self.line, self.character)


class RangeParams(Params):
    """A range in the client's encoding."""

    start: PositionParams
    end: PositionParams

    def to_lsp(self) -> types.Range:
        """Return the range as lsprotocol defines it."""
        return types.Range(self.start.to_lsp(), self.end.to_lsp())


def parse_params(params_type: type[P], value: Any) -> P:
    """Return validated parameters of one of our requests; None means that all have defaults.

    Raises JsonRpcException, which names the first member that cannot be used and not its value.
    """
    try:
        return params_type.model_validate({} if value is None else value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        member = ".".join(str(part) for part in first["loc"]) or "params"
        message = f"The parameter {member!r} cannot be used: {first['msg']}."
        raise JsonRpcException(message, INVALID_PARAMS) from None
