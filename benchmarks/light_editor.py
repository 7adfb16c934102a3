"""A simulated editor that uses almost no processor time, so that many run on the measured machine.

It starts its own server and speaks to it over stdio as VS Code does: each key sends a change and a
request, and cancels the previous request. It keeps only what is counted, and makes no objects of
the protocol's types.
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

_READY_TIMEOUT_S = 600.0
_EXIT_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class BurstAnswer:
    """The answer to the last key of a burst."""

    milliseconds: float
    """Milliseconds from the last key to the answer."""
    source: str
    """Origin of the answer: a `Source`."""
    has_suggestion: bool


@dataclass
class LightEditor:
    """One document with a cursor, and the server process."""

    process: asyncio.subprocess.Process
    text: str = ""
    cursor: int = 0
    _uri: str = ""
    _version: int = 0
    _last_id: int = 0
    _status: dict[str, Any] = field(default_factory=dict)
    _responses: dict[int, asyncio.Future[Any]] = field(default_factory=dict)

    async def wait_until_ready(self) -> None:
        """Wait until the server has loaded the model."""
        async with asyncio.timeout(_READY_TIMEOUT_S):
            while self._status.get("state") != "ready":  # noqa: ASYNC110 - the server reports it
                await asyncio.sleep(0.02)

    def open(self, passage: Passage) -> None:
        """Close the current document, and open a file without the passage."""
        if self._uri:
            self.notify("textDocument/didClose", {"textDocument": {"uri": self._uri}})
        self.text, self.cursor, self._version = passage.initial_text, passage.start, 1
        self._uri = passage.file.absolute_path.as_uri()
        document = {
            "uri": self._uri,
            "languageId": passage.file.language,
            "version": 1,
            "text": self.text,
        }
        self.notify("textDocument/didOpen", {"textDocument": document})

    async def type(self, text: str, gaps_s: list[float]) -> BurstAnswer:
        """Type key by key, and wait for the answer to the last key.

        `gaps_s` are the pauses between the keys, in seconds.
        """
        request_id = 0
        started = time.perf_counter()
        for number, key in enumerate(text):
            if number:
                await asyncio.sleep(gaps_s[number - 1])
                if not self._responses[request_id].done():
                    self.notify("$/cancelRequest", {"id": request_id})
            self._press(key)
            started = time.perf_counter()
            request_id = self._request_completion()
        answer = await self._responses[request_id]
        milliseconds = (time.perf_counter() - started) * 1000
        self._responses = {
            id_: response for id_, response in self._responses.items() if not response.done()
        }
        items = answer.get("items") if isinstance(answer, dict) else answer
        return BurstAnswer(milliseconds, str(self._status.get("source", "")), bool(items))

    def _press(self, key: str) -> None:
        position = self._position()
        self._version += 1
        changes = [{"range": {"start": position, "end": position}, "text": key}]
        document = {"uri": self._uri, "version": self._version}
        params = {"textDocument": document, "contentChanges": changes}
        self.notify("textDocument/didChange", params)
        self.text = self.text[: self.cursor] + key + self.text[self.cursor :]
        self.cursor += len(key)

    def _request_completion(self) -> int:
        params = {
            "textDocument": {"uri": self._uri},
            "position": self._position(),
            "context": {"triggerKind": 2},
        }
        return self._send_request("textDocument/inlineCompletion", params)

    def _position(self) -> dict[str, int]:
        start = self.text.rfind("\n", 0, self.cursor) + 1
        column = len(self.text[start : self.cursor].encode("utf-16-le")) // 2
        return {"line": self.text.count("\n", 0, self.cursor), "character": column}

    # JSON-RPC.

    async def request(self, method: str, params: Any) -> Any:
        """Send a request, and return its result."""
        request_id = self._send_request(method, params)
        try:
            return await self._responses[request_id]
        finally:
            del self._responses[request_id]

    def notify(self, method: str, params: Any) -> None:
        """Send a notification."""
        self._send({"method": method, "params": params})

    async def listen(self) -> None:
        """Read the server's messages until its output ends."""
        assert self.process.stdout is not None
        while header := await self.process.stdout.readline():
            if not header.lower().startswith(b"content-length:"):
                continue
            while (await self.process.stdout.readline()).strip():
                pass
            body = await self.process.stdout.readexactly(int(header.split(b":")[1]))
            self._receive(json.loads(body))

    def _send_request(self, method: str, params: Any) -> int:
        self._last_id += 1
        self._responses[self._last_id] = asyncio.get_running_loop().create_future()
        self._send({"id": self._last_id, "method": method, "params": params})
        return self._last_id

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self.process.stdin is not None
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))

    def _receive(self, message: dict[str, Any]) -> None:
        if message.get("method") == "starcoder/status":
            self._status.update(message["params"])
        elif "method" not in message:
            response = self._responses.get(message["id"])
            if response is not None and not response.done():
                response.set_result(message.get("result"))
        elif "id" in message:
            self._send({"id": message["id"], "result": None})


@asynccontextmanager
async def light_editor(settings: dict[str, Any]) -> AsyncIterator[LightEditor]:
    """Start a server and its editor, and end both cleanly."""
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
        await editor.request("initialize", _initialize_params(settings))
        editor.notify("initialized", {})
        yield editor
        await editor.request("shutdown", None)
        editor.notify("exit", None)
    finally:
        if process.returncode is None:
            try:
                await asyncio.wait_for(process.wait(), _EXIT_TIMEOUT_S)
            except TimeoutError:
                process.kill()
        await listening


def _initialize_params(settings: dict[str, Any]) -> dict[str, Any]:
    return {
        "processId": os.getpid(),
        "capabilities": {"textDocument": {"inlineCompletion": {}}},
        "initializationOptions": settings,
        "rootUri": None,
    }
