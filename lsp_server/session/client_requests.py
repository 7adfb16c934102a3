"""Requests to the client. Its answer may be late, an error, of a wrong type, or never come.

All our requests go through this module, so that none of these cases reaches the user as a failure
of the server: the caller decides what to do without an answer.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from pygls.exceptions import JsonRpcException
from pygls.lsp.server import LanguageServer

log = logging.getLogger(__name__)


class NoAnswerError(Exception):
    """The client did not answer a request, or not with a result that can be used."""


async def ask_client(
    server: LanguageServer, method: str, params: Any, *, timeout_s: float | None = None
) -> Any:
    """Return the client's answer to a request, as an object of lsprotocol.

    Raises NoAnswerError if there is none in time; a later answer is ignored. Without `timeout_s`
    the answer may depend on the user, who takes as long as necessary.
    """
    try:
        return await asyncio.wait_for(server.protocol.send_request_async(method, params), timeout_s)
    except TimeoutError:
        log.warning("the client does not answer: %s", method)
    except JsonRpcException as error:
        log.warning("the client refused %s: error %d", method, error.code)
    raise NoAnswerError(method) from None
