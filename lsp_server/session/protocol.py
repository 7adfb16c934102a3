"""The protocol with manners: an unexpected failure tells the client nothing of code or text."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from lsprotocol import types
from pygls.protocol import LanguageServerProtocol, lsp_method

_INTERNAL_ERROR = -32603
FAILED = "The language server failed at this; its log has the details."


class StarcoderProtocol(LanguageServerProtocol):
    """Answers an unexpected exception with one sentence; pygls would send message and traceback.

    Both may hold the user's code. The log gets them.
    """

    def _send_response(
        self, msg_id: Any, result: Any = None, error: types.ResponseError | None = None
    ) -> None:
        if error is not None and error.code == _INTERNAL_ERROR:
            error = types.ResponseError(_INTERNAL_ERROR, FAILED)
        super()._send_response(msg_id, result, error)


class ConnectionProtocol(StarcoderProtocol):
    """For one of many connections: `exit` ends it, where the stock one ends the process."""

    @lsp_method(types.EXIT)
    def lsp_exit(self, *_: Any) -> Generator[Any, Any, None]:
        """Close the connection."""
        yield from ()
        if self._server._stop_event is not None:
            self._server._stop_event.set()
        if self.writer is not None:
            self.writer.close()
