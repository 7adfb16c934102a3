"""Refusals of the HTTP interface, in the shape of OpenAI's errors."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import JSONResponse

from engine.errors import EngineBusyError, RequestError
from engine.server import wire
from engine.server.limits import RETRY_AFTER_S


class Refusal(Exception):  # noqa: N818 - a response, raised to end the handling of a request
    """A response that refuses a request for a reason of HTTP; `engine.errors` has all others."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = RequestError.kind,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
        closes: bool = False,
    ) -> None:
        """Create a refusal; `closes` ends the connection, for a body that has not been read."""
        super().__init__(message)
        self.status = status
        self.headers = {**(headers or {}), **({"Connection": "close"} if closes else {})}
        self.body = wire.error_object(message, kind, code)

    def response(self) -> JSONResponse:
        """Return the HTTP response."""
        return JSONResponse(self.body, self.status, self.headers)


def too_many_requests(message: str) -> Refusal:
    """Return the refusal while other clients use all that there is of a resource."""
    return Refusal(
        503,
        message,
        kind=EngineBusyError.kind,
        headers={"Retry-After": str(RETRY_AFTER_S)},
        closes=True,
    )
