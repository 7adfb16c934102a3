"""The server over TCP: many clients, each with a server object of its own.

pygls' own TCP mode has one writer for all, so that one client's answer reaches another.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading

from pygls.io_ import run_async

from lsp_server.logs import set_up_logging
from lsp_server.session.protocol import ConnectionProtocol
from lsp_server.session.server import EngineFactory, engine_of
from lsp_server.stdio import build_server

log = logging.getLogger(__name__)


def run_tcp(
    host: str, port: int, *, log_file: str | None = None, make_engine: EngineFactory = engine_of
) -> None:
    """Serve every client that connects, until interrupted."""
    set_up_logging(log_file)
    try:
        asyncio.run(serve_tcp(host, port, make_engine))
    except KeyboardInterrupt:
        log.info("interrupted")


async def serve_tcp(host: str, port: int, make_engine: EngineFactory = engine_of) -> None:
    """Listen; the address that was bound is told on stderr."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _serve_one(reader, writer, make_engine)

    listening = await asyncio.start_server(connected, host, port)
    print(  # noqa: T201 - stderr, and whoever chose port 0 needs it
        "listening on {}:{}".format(*listening.sockets[0].getsockname()[:2]),
        file=sys.stderr,
        flush=True,
    )
    async with listening:
        await listening.serve_forever()


async def _serve_one(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, make_engine: EngineFactory
) -> None:
    server = build_server(make_engine, protocol_cls=ConnectionProtocol)
    server._stop_event = threading.Event()
    server.protocol.set_writer(writer)
    try:
        await run_async(
            stop_event=server._stop_event,
            reader=reader,
            protocol=server.protocol,
            logger=log,
            error_handler=server.report_server_error,
        )
    except (asyncio.IncompleteReadError, ConnectionError):
        log.info("a client went away")
    finally:
        for future in list(server.protocol._request_futures.values()):
            future.cancel()
        await server.close()
        writer.close()
