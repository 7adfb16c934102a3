"""A scripted editor: it starts the real server over stdio, types, and requests ghost text.

It behaves as VS Code does: each key sends a change and a request, and cancels the previous request.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pygls.lsp.client import LanguageClient

from engine.errors import EngineUnavailableError
from fim.evaluation.counts import GhostText

_URI = "file:///starcoder-demo/temperatures.py"


@dataclass(frozen=True, slots=True)
class _InFlightRequest:
    """A completion request without an answer yet."""

    id: str
    future: Future[Any]
    started: float


@dataclass
class ScriptedEditor:
    """One open document and one cursor; only the protocol's positions are in UTF-16 units."""

    client: LanguageClient
    text: str = ""
    cursor: int = 0
    version: int = 0
    uri: str = _URI
    status: dict[str, Any] = field(default_factory=dict)
    """The last status that the server reported."""
    messages: list[str] = field(default_factory=list)
    """Messages of the server to the user."""
    _abandoned: set[asyncio.Future[GhostText]] = field(default_factory=set)
    """Requests that were cancelled and whose answers are ignored."""

    async def wait_until_ready(self, seconds: float = 600.0) -> None:
        """Wait for the model; raises EngineUnavailableError with the server's message."""
        deadline = time.monotonic() + seconds
        while self.status.get("state") != "ready":
            if self.status.get("state") == "error" or time.monotonic() > deadline:
                raise EngineUnavailableError(str(self.status.get("message") or "no answer"))
            await asyncio.sleep(0.02)

    @property
    def current_line(self) -> tuple[str, str]:
        """The cursor's line, left and right of the cursor."""
        start = self.text.rfind("\n", 0, self.cursor) + 1
        end = self.text.find("\n", self.cursor)
        return self.text[start : self.cursor], self.text[self.cursor : None if end < 0 else end]

    @property
    def calls(self) -> int:
        """Number of requests to the model so far, as the server last reported."""
        return int(self.status.get("asked", 0))

    def open(self, text: str, uri: str = _URI, language: str = "python") -> None:
        """Close the current document and open another, with the cursor at its start."""
        if self.version:
            old = types.TextDocumentIdentifier(self.uri)
            self.client.text_document_did_close(types.DidCloseTextDocumentParams(old))
        self.text, self.cursor, self.version, self.uri = text, 0, 1, uri
        item = types.TextDocumentItem(uri, language, self.version, text)
        self.client.text_document_did_open(types.DidOpenTextDocumentParams(item))

    def put_cursor(self, before: str, after: str = "") -> None:
        """Put the cursor between two texts, where they first occur together."""
        self.cursor = self.text.index(before + after) + len(before)

    def edit(self, removed: int, inserted: str, text_after: str = "") -> None:
        """Replace `removed` characters right of the cursor, and move it after `inserted`.

        `text_after` is put right of the cursor, such as the closing bracket that an editor inserts.
        """
        start, end = self._position(self.cursor), self._position(self.cursor + removed)
        change = types.TextDocumentContentChangePartial(
            text=inserted + text_after, range=types.Range(start, end)
        )
        self.version += 1
        self.client.text_document_did_change(
            types.DidChangeTextDocumentParams(
                types.VersionedTextDocumentIdentifier(self.version, self.uri), [change]
            )
        )
        rest = self.text[self.cursor + removed :]
        self.text = self.text[: self.cursor] + inserted + text_after + rest
        self.cursor += len(inserted)

    async def type(self, text: str, seconds_per_key: float = 0.05) -> GhostText:
        """Type key by key, send a request at each key, and return the last answer.

        Each key cancels the previous request.
        """
        request: _InFlightRequest | None = None
        for character in text:
            if request is not None:
                await asyncio.sleep(seconds_per_key)
                self._cancel(request)
            self.edit(0, character)
            request = self._send_request(types.InlineCompletionTriggerKind.Automatic)
        if request is None:
            raise ValueError("type at least one character")
        return await self._ghost_text(request)

    async def press(
        self, key: str, pause: float, *, removed: int = 0, text_after: str = ""
    ) -> GhostText | None:
        """Press one key, and wait for `pause` seconds as a person does before the next key.

        `removed` and `text_after` are those of `edit`. Returns the ghost text at the end of the
        pause; without an answer by then, cancels the request and returns None.
        """
        self.edit(removed, key, text_after)
        request = self._send_request(types.InlineCompletionTriggerKind.Automatic)
        answer = asyncio.ensure_future(self._ghost_text(request))
        await asyncio.wait([answer], timeout=pause)
        rest = pause - (time.perf_counter() - request.started)
        await asyncio.sleep(max(0.0, rest))
        if answer.done():
            return answer.result()
        self._cancel(request)
        self._abandoned.add(answer)  # the server still answers that the request was cancelled
        answer.add_done_callback(self._abandoned.discard)
        return None

    async def invoke(self) -> GhostText:
        """Request a suggestion at the cursor, as the editor's command does."""
        request = self._send_request(types.InlineCompletionTriggerKind.Invoked)
        return await self._ghost_text(request)

    def _send_request(self, kind: types.InlineCompletionTriggerKind) -> _InFlightRequest:
        params = types.InlineCompletionParams(
            context=types.InlineCompletionContext(kind),
            text_document=types.TextDocumentIdentifier(self.uri),
            position=self._position(self.cursor),
        )
        request_id = str(uuid.uuid4())
        future = self.client.protocol.send_request(
            types.TEXT_DOCUMENT_INLINE_COMPLETION, params, msg_id=request_id
        )
        return _InFlightRequest(request_id, future, time.perf_counter())

    def _cancel(self, request: _InFlightRequest) -> None:
        if not request.future.done():
            self.client.cancel_request(types.CancelParams(request.id))

    async def _ghost_text(self, request: _InFlightRequest) -> GhostText:
        try:
            answer = await asyncio.wrap_future(request.future)
        except JsonRpcException as error:
            return GhostText("", error.message, 0.0)
        milliseconds = (time.perf_counter() - request.started) * 1000
        items: Sequence[types.InlineCompletionItem] = getattr(answer, "items", answer) or []
        why, source = (str(self.status.get(name) or "") for name in ("why", "source"))
        empty = GhostText("", why, milliseconds, source=source)
        return self._with_item(empty, items[0]) if items else empty

    def _with_item(self, empty: GhostText, item: types.InlineCompletionItem) -> GhostText:
        text = item.insert_text if isinstance(item.insert_text, str) else item.insert_text.value
        if item.range is None:
            return replace(empty, text=text)
        start, end = self._offset(item.range.start), self._offset(item.range.end)
        return replace(
            empty, text=text[self.cursor - start :], replaced=self.text[self.cursor : end]
        )

    def accept(self, ghost: GhostText) -> None:
        """Accept a suggestion, as Tab does."""
        self.edit(len(ghost.replaced), ghost.text)

    def _position(self, offset: int) -> types.Position:
        line_start = self.text.rfind("\n", 0, offset) + 1
        column = len(self.text[line_start:offset].encode("utf-16-le")) // 2
        return types.Position(self.text.count("\n", 0, offset), column)

    def _offset(self, position: types.Position) -> int:
        start = 0
        for _ in range(position.line):
            start = self.text.index("\n", start) + 1
        units = self.text[start:].encode("utf-16-le")[: position.character * 2]
        return start + len(units.decode("utf-16-le", errors="ignore"))


class _DrainingClient(LanguageClient):
    """A client that reads the server's stderr and drops it.

    Otherwise the pipe fills up, and the server blocks at its next line of log.
    """

    async def drain_stderr(self) -> None:
        """Read until the server closes its stderr."""
        if self._server is not None and self._server.stderr is not None:
            while await self._server.stderr.read(65536):
                pass


@asynccontextmanager
async def editor_with_server(
    settings: dict[str, Any], roots: Sequence[Path] = ()
) -> AsyncIterator[ScriptedEditor]:
    """Start the server in a process of its own, as an editor does, and stop it cleanly.

    `roots` are the folders that are open in the editor.
    """
    client = _DrainingClient("starcoder-lsp-demo", "1")
    editor = ScriptedEditor(client)
    client.feature("starcoder/status")(lambda params: editor.status.update(params._asdict()))
    client.feature(types.WINDOW_SHOW_MESSAGE)(lambda params: editor.messages.append(params.message))
    await client.start_io(sys.executable, "-P", "-m", "lsp_server")
    stderr = asyncio.create_task(client.drain_stderr())
    try:
        await client.initialize_async(_initialize_params(settings, roots))
        client.initialized(types.InitializedParams())
        yield editor
        await client.shutdown_async(None)
    finally:
        client.exit(None)
        await client.stop()  # type: ignore[no-untyped-call]
        await stderr


def _initialize_params(settings: dict[str, Any], roots: Sequence[Path]) -> types.InitializeParams:
    folders = [types.WorkspaceFolder(root.resolve().as_uri(), root.name) for root in roots]
    return types.InitializeParams(
        capabilities=types.ClientCapabilities(
            text_document=types.TextDocumentClientCapabilities(
                inline_completion=types.InlineCompletionClientCapabilities()
            )
        ),
        process_id=os.getpid(),
        workspace_folders=folders or None,
        initialization_options=settings,
    )
