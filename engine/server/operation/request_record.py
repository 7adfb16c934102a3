"""What is known about one HTTP request: the source of the access log and of metrics.

A record contains no text that a client has chosen: neither prompts, outputs, keys and query
strings, nor unknown URLs, methods and names of models.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from starlette.types import Scope

from engine.api import Progress
from engine.server.users.accounts import Account

_SCOPE_KEY = "starcoder.record"


class EndReason(StrEnum):
    """How a request ended."""

    FINISHED = "finished"
    """The client got a complete answer."""
    CANCELLED = "cancelled"
    """The client closed the connection first."""
    REFUSED = "refused"
    """The request was refused: the status is 4xx, or 503 while others use the engine."""
    FAILED = "failed"
    """The engine could not answer, or failed in the middle of a stream."""


@dataclass(slots=True, eq=False)
class RequestRecord:
    """One HTTP request, from its head to its end. All times are those of `time.monotonic`."""

    method: str
    """HTTP method; `other` for one that HTTP does not define."""
    route: str
    """Path of the route, with names of parameters instead of their values; empty if unknown."""
    arrived: float = field(default_factory=time.monotonic)
    account: Account | None = None
    """The user; None while it is unknown."""
    status: int | None = None
    """HTTP status; None until the response starts."""
    outputs: list[Progress] = field(default_factory=list)
    """What the engine has done, for each output and each scored text of the request."""
    first_token: float | None = None
    """Time at which the first chunk of an output arrived."""
    token_gaps: list[tuple[float, int]] = field(default_factory=list)
    """For each later chunk the seconds per token since the one before, and its number of tokens."""
    has_failed: bool = False
    """Whether the engine raised an error, also in the middle of a stream."""
    ended: float | None = None
    end: EndReason | None = None
    """How the request ended; None until then."""

    @property
    def user(self) -> str:
        """Name of the user; empty if there is only one, or if it is unknown."""
        return "" if self.account is None else self.account.name

    @property
    def prompt_tokens(self) -> int:
        """Number of prompt tokens that were computed or reused."""
        return sum(output.prompt_tokens for output in self.outputs)

    @property
    def completion_tokens(self) -> int:
        """Number of generated tokens."""
        return sum(output.completion_tokens for output in self.outputs)

    @property
    def reused_tokens(self) -> int:
        """Number of prompt tokens whose rows were still in a KV cache."""
        return sum(output.reused_tokens for output in self.outputs)

    @property
    def queue_s(self) -> float | None:
        """Seconds until the engine started the first output; None if it started none."""
        first = self.outputs[0] if self.outputs else None
        return None if first is None or first.started is None else first.started - first.submitted

    @property
    def first_token_s(self) -> float | None:
        """Seconds from the arrival to the first chunk; None if there was none."""
        return None if self.first_token is None else self.first_token - self.arrived

    @property
    def total_s(self) -> float:
        """Seconds from the arrival to the end, or until now."""
        return (time.monotonic() if self.ended is None else self.ended) - self.arrived


RequestObserver = Callable[[RequestRecord], None]
"""Function that is called once with the record of each request, at its end. It must not block."""


def attach_record(scope: Scope, record: RequestRecord) -> None:
    """Make a record that of this request (an ASGI scope)."""
    scope[_SCOPE_KEY] = record


def record_of(scope: Scope) -> RequestRecord:
    """Return the record of a request (an ASGI scope), which `RequestRecorder` attached."""
    record: RequestRecord = scope[_SCOPE_KEY]
    return record
