"""One connection of a user to an HTTP server, as cheap as possible for the load generator.

It sends a body that is ready, and reads of the response only what is measured: when the first token
came, whether the output ended as it should, and the usage in its last event. A general HTTP client
would take several times as long per request, on the machine that is measured.
"""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

_DONE = b"data: [DONE]"
_DATA = b"data: "
_MAX_HEAD = 2**16


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a server."""

    host: str
    port: int


@dataclass(slots=True)
class Reply:
    """What arrived of a response."""

    status: int = 0
    first_s: float | None = None
    """Seconds to the first event with content."""
    is_complete: bool = False
    """Whether the output ended as it should."""
    retry_after_s: float = 1.0
    """Seconds after which a refused client may try again."""
    prompt_tokens: int = 0
    reused_tokens: int = 0
    output_tokens: int = 0

    def read_usage(self, events: bytes) -> None:
        """Read the numbers of tokens from the last event that has them."""
        for line in reversed(events.split(b"\n")):
            if line.startswith(_DATA) and b'"usage"' in line:
                usage: dict[str, Any] = json.loads(line[len(_DATA) :]).get("usage") or {}
                if usage:
                    details = usage.get("prompt_tokens_details") or {}
                    self.prompt_tokens = usage.get("prompt_tokens", 0)
                    self.output_tokens = usage.get("completion_tokens", 0)
                    self.reused_tokens = details.get("cached_tokens") or 0
                    return


class Connection:
    """A connection that is opened when it is needed, and kept while the server keeps it."""

    def __init__(self, address: Address, token: str | None) -> None:
        self._address, self._token = address, token
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    def close(self) -> None:
        """Close the connection; the server then stops the work for its request."""
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None

    async def post(self, path: str, body: bytes, reply: Reply) -> None:
        """Send a request and fill in its reply. Raises OSError or EOFError if the connection
        breaks. Cancelling this closes the connection."""
        started = time.perf_counter()
        try:
            was_open = self._writer is not None
            try:
                await self._send(path, body)
                head = await self._read_head()
            except (OSError, EOFError):
                if not was_open:
                    raise
                self.close()  # the server has closed the connection that was kept
                await self._send(path, body)
                head = await self._read_head()
            await self._read_body(head, reply, started)
        except BaseException:
            self.close()
            raise
        if head.get("connection") == "close":
            self.close()

    async def _send(self, path: str, body: bytes) -> None:
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(
                self._address.host, self._address.port, limit=_MAX_HEAD
            )
        secret = f"Authorization: Bearer {self._token}\r\n" if self._token else ""
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {self._address.host}:{self._address.port}\r\n{secret}"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._writer.write(head.encode() + body)
        await self._writer.drain()

    async def _read_head(self) -> dict[str, str]:
        """Return the headers by their names in lower case, and the status as `:status`."""
        assert self._reader is not None
        lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines[1:] if line)
        headers = {name.strip().lower(): value.strip().lower() for name, _, value in pairs}
        return {**headers, ":status": lines[0].split(" ")[1]}

    async def _read_body(self, head: dict[str, str], reply: Reply, started: float) -> None:
        reply.status = int(head[":status"])
        with suppress(ValueError):
            reply.retry_after_s = float(head.get("retry-after", 1))
        events = b""
        async for part in self._parts(head):
            if reply.first_s is None and reply.status == 200 and _has_content(part):
                reply.first_s = time.perf_counter() - started
            events += part
        reply.is_complete = reply.status == 200 and _DONE in events
        reply.read_usage(events)

    async def _parts(self, head: dict[str, str]) -> Any:
        """Yield the parts of the body in the order of their arrival."""
        assert self._reader is not None
        if head.get("transfer-encoding") != "chunked":
            yield await self._reader.readexactly(int(head.get("content-length", 0)))
            return
        while size := int((await self._reader.readuntil(b"\r\n")).partition(b";")[0], 16):
            yield (await self._reader.readexactly(size + 2))[:-2]
        await self._reader.readuntil(b"\r\n")


def _has_content(part: bytes) -> bool:
    """Return whether an event has a choice. The role of a chat's answer has no text either, but
    completions have none."""
    return b'"choices"' in part and _DATA in part
