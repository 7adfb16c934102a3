"""A small HTTP server with OpenAI's API that can be made to misbehave, and counts its requests."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from engine.client.endpoint import Endpoint
from engine.scripted import byte_tokenizer

Fault = bytes | str
"""A whole response, or one of the names in `Server.answer`."""

HTML = "<!doctype html><html><head><title>Welcome to the lab</title></head><body>Hi</body></html>"


def response(
    status: int, body: str | dict[str, Any] = "", kind: str = "application/json", **headers: str
) -> bytes:
    """Return a whole response. Underscores in the names of headers become hyphens."""
    content = (json.dumps(body) if isinstance(body, dict) else body).encode()
    lines = [f"HTTP/1.1 {status} X", f"Content-Type: {kind}", f"Content-Length: {len(content)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + content


def event(text: str = "", finish: str | None = None) -> bytes:
    """Return one event of a streamed completion."""
    payload = {"model": "x", "choices": [{"index": 0, "text": text, "finish_reason": finish}]}
    return b"data: " + json.dumps(payload).encode() + b"\n\n"


def write_tokenizer(folder: Path) -> Path:
    """Write the tokenizer that the server's prompts are made with; return its folder."""
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.json").write_text(byte_tokenizer().to_json(), encoding="utf-8")
    return folder


class Server:
    """The server. Change its members at any time; open connections are closed by `stop`."""

    def __init__(self) -> None:
        self.models: list[dict[str, Any]] = [{"id": "one", "max_model_len": 512}]
        self.text = "1"
        """The output for every prompt, in one event per character."""
        self.faults: dict[str, Fault] = {}
        """What happens in place of an answer, by path; `*` is any path."""
        self.next_faults: list[tuple[str, Fault]] = []
        """The same, each for one request only."""
        self.requests: list[tuple[float, str]] = []
        """Time and path of each request so far."""
        self.bodies: list[dict[str, Any]] = []
        """The completion requests so far."""
        self.headers: list[str] = []
        self.port = 0
        self.context: ssl.SSLContext | None = None
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[object]] = set()
        """One for each open connection."""

    @property
    def url(self) -> str:
        return f"{'http' if self.context is None else 'https'}://127.0.0.1:{self.port}"

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(self.url)

    def paths(self, since: float = 0.0) -> list[str]:
        return [path for when, path in self.requests if when >= since]

    async def start(self) -> None:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, ssl=self.context
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            # asyncio never closes a connection that it accepts while the server closes. So first
            # it accepts no more, and those that it has accepted get their task.
            for listening in self._server.sockets:
                asyncio.get_running_loop().remove_reader(listening.fileno())
            for _ in range(5):
                await asyncio.sleep(0)
            self._server.close()
            self._server = None
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while await self._answer_one(reader, writer):
                    await writer.drain()
        finally:
            self._tasks.discard(task)
            if task.cancelling():
                writer.transport.abort()
            else:
                writer.close()

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; return whether the connection stays open."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split(" ", 2)[1].partition("?")[0]
        length = next(
            (
                int(line[15:])
                for line in head.split("\r\n")
                if line.lower()[:15] == "content-length:"
            ),
            0,
        )
        body = await reader.readexactly(length)
        self.requests.append((time.monotonic(), path))
        self.headers.append(head)
        if path == "/v1/completions":
            self.bodies.append(json.loads(body))
        fault = self.faults.get(path, self.faults.get("*", ""))
        if self.next_faults and self.next_faults[0][0] == path:
            fault = self.next_faults.pop(0)[1]
        if isinstance(fault, bytes):
            writer.write(fault)
            return b"Content-Length" in fault and b"Connection: close" not in fault
        if fault == "hang":
            await asyncio.sleep(3600)
        if path == "/v1/models":
            writer.write(response(200, {"object": "list", "data": self.models}))
        elif path == "/v1/completions":
            return await self._stream(writer, fault)
        else:
            writer.write(response(404, {"detail": "Not Found"}))
        return True

    async def _stream(self, writer: asyncio.StreamWriter, fault: str) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        for token in self.text:
            writer.write(event(token))
        await writer.drain()
        if fault == "stall":
            await asyncio.sleep(3600)
        if fault != "truncate":
            writer.write(event("", "stop") + b"data: [DONE]\n\n")
        await writer.drain()
        return False


@asynccontextmanager
async def running() -> AsyncIterator[Server]:
    """Run a server until the block ends."""
    server = Server()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
