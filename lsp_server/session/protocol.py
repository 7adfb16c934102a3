"""The custom part of the protocol: names on the wire, and parameter types that requests share."""

from __future__ import annotations

from typing import Any, Literal

from lsprotocol import types
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

STATUS_METHOD = "starcoder/status"
"""Our notification about the server's state; clients that do not know it ignore it."""
ACCEPTED_COMMAND = "starcoder.accepted"
"""The command that reports that a suggestion was accepted."""
TASK_COMMAND = "starcoder.task"
"""The command that performs a task and applies its edit."""

INVALID_PARAMS = -32602
"""Error code of JSON-RPC for invalid parameters."""

ProgressToken = str | int
TaskName = Literal["tests", "explain", "document", "fix", "edit"]


class Params(BaseModel):
    """Base class of the parameters of our requests, in camelCase on the wire."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)


class NoParams(Params):
    """The parameters of a request that needs none."""


class PositionParams(Params):
    """A position in the client's encoding."""

    line: int
    character: int

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


def to_plain(value: Any) -> Any:
    """Return JSON with dictionaries in place of the anonymous named tuples of pygls."""
    if hasattr(value, "_asdict"):
        return {key: to_plain(inner) for key, inner in value._asdict().items()}
    if isinstance(value, dict):
        return {key: to_plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [to_plain(inner) for inner in value]
    return value
