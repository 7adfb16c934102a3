"""The frames of LSP's base protocol: a header with `Content-Length`, then that many bytes.

Strict, because a listening server is reached by programs that do not speak LSP. A web page can send
an HTTP request to any port of this machine, and the headers of HTTP look like those of LSP.
"""

from __future__ import annotations

import re
from typing import Protocol

MAX_BODY_BYTES = 64 * 2**20
"""Longest message. Editors send whole documents when they open them."""
MAX_FIRST_BODY_BYTES = 2**20
"""Longest message of a client before `initialize`, when it may be anybody."""
MAX_HEADER_BYTES = 256
"""Longest line of a header."""

_LENGTH = re.compile(rb"content-length: *([0-9]{1,9}) *\r\n", re.IGNORECASE)
_TYPE = re.compile(
    rb"content-type: *[a-z0-9.+-]+/[a-z0-9.+-]+( *; *charset=\"?utf-?8\"?)? *\r\n", re.IGNORECASE
)


class FramingError(Exception):
    """What arrived is not LSP; the message contains none of it."""


class Reader(Protocol):
    """A stream of bytes, such as `asyncio.StreamReader`."""

    async def readline(self) -> bytes:
        """Return the bytes up to a line feed, or up to the end. May raise ValueError if long."""

    async def readexactly(self, num_bytes: int) -> bytes:
        """Return that many bytes. Raises asyncio.IncompleteReadError at the end."""


async def read_body(reader: Reader, max_bytes: int = MAX_BODY_BYTES) -> bytes | None:
    """Return the body of the next frame, None at the end of the stream.

    Raises FramingError for a header with other members than `Content-Length` and `Content-Type`
    (LSP 3.18, "Header Part"), and asyncio.IncompleteReadError if the stream ends in a body.
    """
    length: int | None = None
    has_type = False
    while True:
        line = await _read_line(reader)
        if not line and length is None and not has_type:
            return None
        if line == b"\r\n" and length is not None:
            return await reader.readexactly(length)
        if length is None and (match := _LENGTH.fullmatch(line)):
            length = int(match[1])
            if not 0 < length <= max_bytes:
                raise FramingError(f"a message is empty or longer than {max_bytes} bytes")
        elif not has_type and _TYPE.fullmatch(line):
            has_type = True
        else:
            raise FramingError("a header is not one of the Language Server Protocol")


async def _read_line(reader: Reader) -> bytes:
    try:
        return await reader.readline()
    except ValueError:  # longer than the buffer of asyncio.StreamReader
        raise FramingError("a header line is too long") from None
