"""Serves one client over a pair of streams."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from lsp_server.framing import (
    MAX_BODY_BYTES,
    MAX_FIRST_BODY_BYTES,
    FramingError,
    Reader,
    read_body,
)
from lsp_server.session.server import StarcoderServer

log = logging.getLogger(__name__)


async def serve(
    server: StarcoderServer, reader: Reader, *, initialize_within_s: float | None = None
) -> int:
    """Handle the client's messages until it ends; the server's writer must be set.

    Returns the exit status that LSP defines: 0 if the client has sent `shutdown`, else 1. A client
    that does not send a valid `initialize` within the given seconds is disconnected.
    """
    protocol = server.protocol
    try:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            async with asyncio.timeout(initialize_within_s) as limit:
                while protocol.exit_code is None:
                    is_known = protocol.is_initialized
                    if is_known:
                        limit.reschedule(None)
                    max_bytes = MAX_BODY_BYTES if is_known else MAX_FIRST_BODY_BYTES
                    body = await read_body(reader, max_bytes)
                    if body is None:
                        break
                    protocol.receive(body)
    except FramingError as error:
        log.error("the connection is closed: %s", str(error))
        return 1
    except TimeoutError:
        log.error("the connection is closed: the client did not send `initialize` in time")
        return 1
    finally:
        protocol.cancel_requests()
        await server.close()
    if protocol.exit_code is not None:
        return protocol.exit_code
    return 0 if protocol.is_shut_down else 1
