"""Runs the server over stdin and stdout, as editors start it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

from lsp_server.connection import serve
from lsp_server.framing import MAX_HEADER_BYTES
from lsp_server.session.server import StarcoderServer

_INTERRUPTED = 130
"""Exit status after Ctrl+C, as shells define it."""


def run_stdio(server: StarcoderServer) -> int:
    """Serve one client until it sends `exit` or closes stdin; returns the exit status."""
    server.protocol.set_writer(_StdoutWriter(sys.stdout.buffer))
    # Standard output belongs to the protocol. What a library prints goes to the log.
    sys.stdout = sys.stderr
    reader = _StdinReader(sys.stdin.buffer)
    try:
        return asyncio.run(serve(server, reader))
    except KeyboardInterrupt:
        # A thread waits for stdin, and Python would wait for the thread.
        os._exit(_INTERRUPTED)


class _StdinReader:
    """Reads stdin in a thread; on Windows an event loop cannot read it, nor a file on any system.

    The thread is not one of the event loop's, whose end would wait for the thread.
    """

    def __init__(self, stdin: BinaryIO) -> None:
        self._stdin = stdin
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="stdin")

    async def readline(self) -> bytes:
        """See `Reader.readline`."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._stdin.readline, MAX_HEADER_BYTES)

    async def readexactly(self, num_bytes: int) -> bytes:
        """See `Reader.readexactly`."""
        loop = asyncio.get_running_loop()
        data = await loop.run_in_executor(self._thread, self._stdin.read, num_bytes)
        if len(data) < num_bytes:
            raise asyncio.IncompleteReadError(data, num_bytes)
        return data


class _StdoutWriter:
    """Writes to stdout; if the client has closed it, stdin ends too."""

    def __init__(self, stdout: BinaryIO) -> None:
        self._stdout = stdout

    def write(self, data: bytes) -> None:
        """Send the bytes now."""
        with contextlib.suppress(BrokenPipeError):
            self._stdout.write(data)
            self._stdout.flush()

    def close(self) -> None:
        """Close stdout."""
        self._stdout.close()
