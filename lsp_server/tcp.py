"""Runs the server over TCP for many clients, each with a server object of its own.

The TCP mode of pygls shares one writer between all clients, so responses can reach the wrong one.
"""

from __future__ import annotations

import asyncio
import logging
import sys

from pygls.io_ import run_async

from lsp_server.allocator import limit_arenas
from lsp_server.logs import set_up_logging
from lsp_server.registration import build_server
from lsp_server.session.engine_choice import EngineFactory, create_engine
from lsp_server.session.pygls_internals import ConnectionProtocol

log = logging.getLogger(__name__)


def run_tcp(
    host: str,
    port: int,
    *,
    log_file: str | None = None,
    make_engine: EngineFactory = create_engine,
) -> None:
    """Serve every client that connects, until interrupted."""
    limit_arenas()
    set_up_logging(log_file)
    try:
        asyncio.run(serve_tcp(host, port, make_engine))
    except KeyboardInterrupt:
        log.info("interrupted")


async def serve_tcp(host: str, port: int, make_engine: EngineFactory = create_engine) -> None:
    """Listen for clients and print the address to stderr."""

    async def on_connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _serve_client(reader, writer, make_engine)

    listener = await asyncio.start_server(on_connect, host, port)
    print(  # noqa: T201 - to stderr; a caller that chose port 0 reads the port from it
        "listening on {}:{}".format(*listener.sockets[0].getsockname()[:2]),
        file=sys.stderr,
        flush=True,
    )
    async with listener:
        await listener.serve_forever()


async def _serve_client(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, make_engine: EngineFactory
) -> None:
    server = build_server(make_engine, protocol_cls=ConnectionProtocol)
    protocol = server.protocol
    assert isinstance(protocol, ConnectionProtocol)
    protocol.set_writer(writer)
    try:
        await run_async(
            stop_event=protocol.exited,
            reader=reader,
            protocol=protocol,
            logger=log,
            error_handler=server.report_server_error,
        )
    except (asyncio.IncompleteReadError, ConnectionError):
        log.info("a client disconnected")
    finally:
        protocol.cancel_requests()
        await server.close()
        writer.close()
