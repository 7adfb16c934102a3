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
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fim.evaluation.counts import Passage

_READY_TIMEOUT_S = 600.0
_EXIT_TIMEOUT_S = 5.0
_MAX_MESSAGE = 1 << 24
"""Maximum bytes of a header line of the server's messages."""


@dataclass(frozen=True, slots=True)
class BurstAnswer:
    """The answer to the last key of a burst."""

    milliseconds: float
    """Milliseconds from the last key to the answer."""
    source: str
    """Origin of the answer: a `Source`."""
    has_suggestion: bool


@dataclass
class OpenDocument:
    """A document that is open in the server, and the cursor in it."""

    uri: str = ""
    language: str = ""
    text: str = ""
    cursor: int = 0
    version: int = 1

    @property
    def identifier(self) -> dict[str, Any]:
        """The document as the protocol names it."""
        return {"uri": self.uri}

    def position(self, offset: int) -> dict[str, int]:
        """Return the position of an offset, in UTF-16 code units as LSP defines it."""
        start = self.text.rfind("\n", 0, offset) + 1
        column = len(self.text[start:offset].encode("utf-16-le")) // 2
        return {"line": self.text.count("\n", 0, offset), "character": column}

    def range(self, start: int, end: int) -> dict[str, Any]:
        """Return the range of the text between two offsets."""
        return {"start": self.position(start), "end": self.position(end)}


@dataclass
class LightEditor:
    """The document that the user sees, and the server process."""

    process: asyncio.subprocess.Process
    document: OpenDocument = field(default_factory=OpenDocument)
    status: dict[str, Any] = field(default_factory=dict)
    """The latest status that the server sent."""
    progress: Counter[str | int] = field(default_factory=Counter)
    """Number of characters that were streamed under each token."""
    num_unexpected: int = 0
    """Number of responses to requests that were never sent or are answered already."""
    _last_id: int = 0
    _responses: dict[int, asyncio.Future[dict[str, Any]]] = field(default_factory=dict)

    async def wait_until_ready(self) -> None:
        """Wait until the server has loaded the model."""
        async with asyncio.timeout(_READY_TIMEOUT_S):
            while self.status.get("state") != "ready":  # noqa: ASYNC110 - the server reports it
                await asyncio.sleep(0.02)

    # Documents.

    def open(self, passage: Passage) -> None:
        """Close the current document, and open a file without the passage."""
        if self.document.uri:
            self.close(self.document)
        uri = passage.file.absolute_path.as_uri()
        language = passage.file.language
        self.show_new(OpenDocument(uri, language, passage.initial_text, passage.start))

    def show_new(self, document: OpenDocument) -> None:
        """Open a document, and show it."""
        self.document = document
        item = {
            **document.identifier,
            "languageId": document.language,
            "version": document.version,
            "text": document.text,
        }
        self.notify("textDocument/didOpen", {"textDocument": item})

    def close(self, document: OpenDocument) -> None:
        """Close a document."""
        self.notify("textDocument/didClose", {"textDocument": document.identifier})

    def edit(self, start: int, end: int, text: str) -> None:
        """Replace the text between two offsets; the cursor is then after the new text."""
        document = self.document
        changes = [{"range": document.range(start, end), "text": text}]
        document.version += 1
        versioned = {**document.identifier, "version": document.version}
        params = {"textDocument": versioned, "contentChanges": changes}
        self.notify("textDocument/didChange", params)
        document.text = document.text[:start] + text + document.text[end:]
        document.cursor = start + len(text)

    # Keys.

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
                    self.cancel(request_id)
                self.ignore(request_id)
            self.press(key)
            started = time.perf_counter()
            request_id = self.request_completion()
        answer = (await self.response(request_id)).get("result")
        milliseconds = (time.perf_counter() - started) * 1000
        items = answer.get("items") if isinstance(answer, dict) else answer
        return BurstAnswer(milliseconds, str(self.status.get("source", "")), bool(items))

    def press(self, key: str) -> None:
        """Insert a key at the cursor."""
        self.edit(self.document.cursor, self.document.cursor, key)

    def request_completion(self, *, invoked: bool = False) -> int:
        """Request a suggestion at the cursor, and return the id of the request."""
        params = {
            "textDocument": self.document.identifier,
            "position": self.document.position(self.document.cursor),
            "context": {"triggerKind": 1 if invoked else 2},
        }
        return self.send_request("textDocument/inlineCompletion", params)

    # JSON-RPC.

    async def request(self, method: str, params: Any) -> Any:
        """Send a request, and return its result; None if it failed."""
        return (await self.response(self.send_request(method, params))).get("result")

    async def response(self, request_id: int) -> dict[str, Any]:
        """Wait for the response to a request, and return the whole message."""
        try:
            return await self._responses[request_id]
        finally:
            del self._responses[request_id]

    def cancel(self, request_id: int) -> None:
        """Cancel a request. It still gets its response."""
        self.notify("$/cancelRequest", {"id": request_id})

    def ignore(self, request_id: int) -> None:
        """Say that nothing will wait for the response to a request."""
        self._responses[request_id].add_done_callback(
            lambda _: self._responses.pop(request_id, None)
        )

    @property
    def num_unanswered(self) -> int:
        """Number of requests that have no response yet."""
        return sum(not response.done() for response in self._responses.values())

    def send_request(self, method: str, params: Any) -> int:
        """Send a request, and return its id."""
        self._last_id += 1
        self._responses[self._last_id] = asyncio.get_running_loop().create_future()
        self._send({"id": self._last_id, "method": method, "params": params})
        return self._last_id

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

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self.process.stdin is not None
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))

    def _receive(self, message: dict[str, Any]) -> None:
        method = message.get("method")
        if method == "starcoder/status":
            self.status.update(message["params"])
        elif method == "$/progress":
            params = message["params"]
            self.progress[params["token"]] += len(params["value"].get("text", ""))
        elif method is None:
            response = self._responses.get(message["id"])
            if response is None or response.done():
                self.num_unexpected += 1
            else:
                response.set_result(message)
        elif "id" in message:
            self._send({"id": message["id"], "result": None})


@asynccontextmanager
async def light_editor(
    settings: dict[str, Any], folder: Path | None = None
) -> AsyncIterator[LightEditor]:
    """Start a server and its editor, and end both cleanly. The workspace is `folder`, if given."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "lsp_server",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        limit=_MAX_MESSAGE,
    )
    editor = LightEditor(process)
    listening = asyncio.create_task(editor.listen())
    try:
        await editor.request("initialize", _initialize_params(settings, folder))
        editor.notify("initialized", {})
        yield editor
        if process.returncode is None:  # a benchmark may have killed it
            await editor.request("shutdown", None)
            editor.notify("exit", None)
    finally:
        if process.returncode is None:
            try:
                await asyncio.wait_for(process.wait(), _EXIT_TIMEOUT_S)
            except TimeoutError:
                process.kill()
        await listening


def _initialize_params(settings: dict[str, Any], folder: Path | None) -> dict[str, Any]:
    uri = None if folder is None else folder.as_uri()
    folders = None if uri is None else [{"uri": uri, "name": "workspace"}]
    return {
        "processId": os.getpid(),
        "capabilities": {"textDocument": {"inlineCompletion": {}}},
        "initializationOptions": settings,
        "rootUri": uri,
        "workspaceFolders": folders,
    }
