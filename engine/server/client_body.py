"""What the bodies of requests have in common, whichever API they belong to."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from engine.server.limits import MAX_INT, MAX_NAME, MAX_PROMPT_TOKENS, MAX_STOP, MAX_STOPS

Name = Annotated[str, Field(max_length=MAX_NAME)]
Stop = Annotated[str, Field(max_length=MAX_STOP)]
# Validation ends at the first wrong entry: reporting a million of them takes a gigabyte.
Stops = Annotated[list[Stop], Field(max_length=MAX_STOPS, fail_fast=True)]
Id = Annotated[int, Field(ge=0, le=MAX_INT)]
Ids = Annotated[list[Id], Field(min_length=1, max_length=MAX_PROMPT_TOKENS, fail_fast=True)]


class ClientBody(BaseModel):
    """A JSON object that a client sends. `null` means the default, as if the field was absent."""

    # JSON has no infinity and no NaN, but the parser would accept them.
    model_config = ConfigDict(extra="allow", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _null_is_default(cls, value: object, info: ValidationInfo) -> object:
        field = cls.model_fields[str(info.field_name)]
        if value is None and not field.is_required():
            return field.get_default(call_default_factory=True)
        return value

    @property
    def other_fields(self) -> dict[str, object]:
        """The fields of the request that this type does not have."""
        return self.model_extra or {}


class StoppingBody(ClientBody):
    """An object with the stop strings of an output: one string, or several."""

    stop: Stop | Stops = Field(default_factory=list)

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings that are not empty."""
        stops = [self.stop] if isinstance(self.stop, str) else self.stop
        return tuple(stop for stop in stops if stop)
