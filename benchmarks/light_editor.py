"""An editor that costs next to nothing: for many at once on the machine that is measured.

It speaks to a server of its own over stdio as VS Code does: a change and a request at every key,
the request before cancelled. It keeps of what it is told only what is counted, and makes no objects
of the protocol's types.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from fim.evaluation.counts import Passage

_READY_S = 600.0


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of the last key of a burst."""

    milliseconds: float
    source: str
    suggests: bool


@dataclass
class LightEditor:
    """One document with a cursor in it, and a server."""

    process: asyncio.subprocess.Process
    text: str = ""
    cursor: int = 0
    _uri: str = ""
    _version: int = 0
    _number: int = 0
    _status: dict[str, Any] = field(default_factory=dict)
    _waiting: dict[int, asyncio.Future[Any]] = field(default_factory=dict)

    async def ready(self) -> None:
        """Wait for the model."""
        async with asyncio.timeout(_READY_S):
            while self._status.get("state") != "ready":  # noqa: ASYNC110 - told by the server
                await asyncio.sleep(0.02)

    def open(self, passage: Passage) -> None:
        """Open a file without the passage, in place of the one before."""
        if self._uri:
            self._tell("textDocument/didClose", {"textDocument": {"uri": self._uri}})
        self.text, self.cursor, self._version = passage.initial_text, passage.start, 1
        self._uri = passage.file.absolute_path.as_uri()
        opened = {
            "uri": self._uri,
            "languageId": passage.file.language,
            "version": 1,
            "text": self.text,
        }
        self._tell("textDocument/didOpen", {"textDocument": opened})

    async def type(self, text: str, gaps_s: list[float]) -> Answered:
        """Type key by key and wait for the answer at the last; `gaps_s` come before the others."""
        asked = 0
        started = time.perf_counter()
        for number, key in enumerate(text):
            if number:
                await asyncio.sleep(gaps_s[number - 1])
                if not self._waiting[asked].done():
                    self._tell("$/cancelRequest", {"id": asked})
            self._press(key)
            started = time.perf_counter()
            asked = self._ask()
        answer = await self._waiting[asked]
        milliseconds = (time.perf_counter() - started) * 1000
        self._waiting = {id_: one for id_, one in self._waiting.items() if not one.done()}
        items = answer.get("items") if isinstance(answer, dict) else answer
        return Answered(milliseconds, str(self._status.get("source", "")), bool(items))

    def _press(self, key: str) -> None:
        at = self._position()
        self._version += 1
        changes = [{"range": {"start": at, "end": at}, "text": key}]
        document = {"uri": self._uri, "version": self._version}
        params = {"textDocument": document, "contentChanges": changes}
        self._tell("textDocument/didChange", params)
        self.text = self.text[: self.cursor] + key + self.text[self.cursor :]
        self.cursor += len(key)

    def _ask(self) -> int:
        params = {
            "textDocument": {"uri": self._uri},
            "position": self._position(),
            "context": {"triggerKind": 2},
        }
        return self._request("textDocument/inlineCompletion", params)

    def _position(self) -> dict[str, int]:
        start = self.text.rfind("\n", 0, self.cursor) + 1
        column = len(self.text[start : self.cursor].encode("utf-16-le")) // 2
        return {"line": self.text.count("\n", 0, self.cursor), "character": column}

    # The wire.

    async def ask(self, method: str, params: Any) -> Any:
        """Send a request and wait for its result."""
        number = self._request(method, params)
        try:
            return await self._waiting[number]
        finally:
            del self._waiting[number]

    def _request(self, method: str, params: Any) -> int:
        self._number += 1
        self._waiting[self._number] = asyncio.get_running_loop().create_future()
        self._send({"id": self._number, "method": method, "params": params})
        return self._number

    def _tell(self, method: str, params: Any) -> None:
        self._send({"method": method, "params": params})

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self.process.stdin is not None
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))

    async def listen(self) -> None:
        """Take what the server says, until it ends."""
        assert self.process.stdout is not None
        while head := await self.process.stdout.readline():
            if not head.lower().startswith(b"content-length:"):
                continue
            while (await self.process.stdout.readline()).strip():
                pass
            body = await self.process.stdout.readexactly(int(head.split(b":")[1]))
            self._take(json.loads(body))

    def _take(self, message: dict[str, Any]) -> None:
        if message.get("method") == "starcoder/status":
            self._status.update(message["params"])
        elif "method" not in message:
            waiting = self._waiting.get(message["id"])
            if waiting is not None and not waiting.done():
                waiting.set_result(message.get("result"))
        elif "id" in message:
            self._send({"id": message["id"], "result": None})


@asynccontextmanager
async def light_editor(settings: dict[str, Any]) -> AsyncIterator[LightEditor]:
    """Start a server and an editor at it, and end both in good order."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "lsp_server",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    editor = LightEditor(process)
    listening = asyncio.create_task(editor.listen())
    try:
        capabilities: dict[str, Any] = {"textDocument": {"inlineCompletion": {}}}
        params = {
            "processId": os.getpid(),
            "capabilities": capabilities,
            "initializationOptions": settings,
            "rootUri": None,
        }
        await editor.ask("initialize", params)
        editor._tell("initialized", {})
        yield editor
        await editor.ask("shutdown", None)
        editor._tell("exit", None)
    finally:
        if process.returncode is None:
            try:
                await asyncio.wait_for(process.wait(), 5)
            except TimeoutError:
                process.kill()
        await listening
