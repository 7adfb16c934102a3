"""Runs the server over sockets: TCP with a token, a Unix socket, or the pipe of one client.

Whoever can talk to a language server can read its user's files, because chat attaches them. On TCP
every local user and, through a browser, every web page can connect, also on loopback. So TCP needs
a token in `initialize`, and a Unix socket only its file's mode.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from engine.errors import ConfigurationError
from engine.unix_socket import unix_socket
from lsp_server.connection import serve
from lsp_server.session.server import StarcoderServer

MakeServer = Callable[[], StarcoderServer]

_INITIALIZE_WITHIN_S = 30.0
"""Seconds in which a new client must send `initialize`."""
_BACKLOG = 16


def run_tcp(host: str, port: int, token: str | None, make_server: MakeServer) -> None:
    """Serve every client that knows the token, until interrupted.

    Raises ConfigurationError without a token, or if the address cannot be used.
    """
    if not token:
        raise ConfigurationError(
            "Every program and web page on this machine can connect to a TCP port. Use --uds PATH, "
            "a Unix socket that only you can open, or set a token that clients must send in their "
            "initializationOptions: --token-file FILE or STARCODER_LSP_TOKEN."
        )
    try:
        bound = socket.create_server((host, port), backlog=_BACKLOG)
    except OSError as error:
        # Python adds the address to the system's reason.
        reason = (error.strerror or str(error)).partition(" (while")[0]
        raise ConfigurationError(
            f"The server cannot listen on {host}:{port} ({reason}). Choose another address."
        ) from None
    with bound:
        _print_address("{}:{}".format(*bound.getsockname()[:2]))
        _run(_listen(bound, token, make_server))


def run_unix(path: Path, make_server: MakeServer) -> None:
    """Serve every client that this user starts, until interrupted.

    Raises ConfigurationError if the socket cannot be made, or not safely.
    """
    _check_folder(path)
    with unix_socket(path) as bound:
        _print_address(str(path))
        _run(_listen(bound, None, make_server))


def run_pipe(path: str, make_server: MakeServer) -> int:
    """Serve the client that listens on this Unix socket; returns the exit status.

    With `--pipe` the client listens and the server connects (LSP 3.18, "Implementation
    Considerations"), so the client has chosen who may open the socket.
    """
    try:
        return asyncio.run(_connect(path, make_server))
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigurationError(
            f"The server cannot connect to {path} ({reason}). With --pipe the editor listens on "
            "the socket; to let the server listen, use --uds."
        ) from None


def check_unix() -> None:
    """Raise ConfigurationError where Python has no Unix sockets."""
    if not hasattr(socket, "AF_UNIX"):
        raise ConfigurationError(
            "Python has no Unix sockets on this system. Use stdin and stdout, or --tcp."
        )


async def _connect(path: str, make_server: MakeServer) -> int:
    reader, writer = await asyncio.open_unix_connection(path)
    return await _serve(reader, writer, make_server(), None)


async def _listen(bound: socket.socket, token: str | None, make_server: MakeServer) -> None:
    async def on_connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server = make_server()
        server.protocol.token = token
        await _serve(reader, writer, server, _INITIALIZE_WITHIN_S)

    # Also for Unix sockets: the socket is bound, so only the protocol's type is left.
    start = asyncio.start_server if bound.family != socket.AF_UNIX else asyncio.start_unix_server
    listener = await start(on_connect, sock=bound)
    async with listener:
        await listener.serve_forever()


async def _serve(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    server: StarcoderServer,
    initialize_within_s: float | None,
) -> int:
    server.protocol.set_writer(writer)
    try:
        return await serve(server, reader, initialize_within_s=initialize_within_s)
    finally:
        writer.close()


def _run(listening: Coroutine[Any, Any, None]) -> None:
    try:
        asyncio.run(listening)
    except KeyboardInterrupt:
        return


def _print_address(address: str) -> None:
    """Print where the server listens; a caller that chose port 0 reads the port from it."""
    print(f"listening on {address}", file=sys.stderr, flush=True)  # noqa: T201 - to stderr


def _check_folder(path: Path) -> None:
    """Raise ConfigurationError if others could put a socket of their own in this place."""
    try:
        state = path.absolute().parent.stat()
    except OSError as error:
        raise ConfigurationError(
            f"The folder of the socket {path} cannot be used ({error.strerror}). Create it with "
            "mode 0700."
        ) from None
    if state.st_uid != os.getuid() or stat.S_IMODE(state.st_mode) & 0o022:
        raise ConfigurationError(
            f"Others can write to the folder of the socket {path}, so clients could connect to "
            "somebody else's server. Choose a folder that belongs to you and has mode 0700."
        )
