"""A scripted editor: starts the real server over stdio, types into a document, asks for ghost text.

It behaves as VS Code does: a change and a request at every key, the request before cancelled.
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
class _Asked:
    """A request on its way."""

    id: str
    future: Future[Any]
    started: float


@dataclass
class ScriptedEditor:
    """One open document and one cursor, both in UTF-16 units as far as the wire goes."""

    client: LanguageClient
    text: str = ""
    cursor: int = 0
    version: int = 0
    uri: str = _URI
    status: dict[str, Any] = field(default_factory=dict)
    """The server's last word on itself."""
    messages: list[str] = field(default_factory=list)
    """What the server wanted the user to read."""
    _left: set[asyncio.Future[GhostText]] = field(default_factory=set)
    """Answers that were not waited for."""

    async def wait_until_ready(self, seconds: float = 600.0) -> None:
        """Wait for the model; raises EngineUnavailableError with the server's word if it fails."""
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
        """How often the model was asked so far, as the server last said."""
        return int(self.status.get("asked", 0))

    def open(self, text: str, uri: str = _URI, language: str = "python") -> None:
        """Open a document in place of the one before, with the cursor at its start."""
        if self.version:
            old = types.TextDocumentIdentifier(self.uri)
            self.client.text_document_did_close(types.DidCloseTextDocumentParams(old))
        self.text, self.cursor, self.version, self.uri = text, 0, 1, uri
        item = types.TextDocumentItem(uri, language, self.version, text)
        self.client.text_document_did_open(types.DidOpenTextDocumentParams(item))

    def put_cursor(self, before: str, after: str = "") -> None:
        """Put the cursor between the two texts, at their first place together."""
        self.cursor = self.text.index(before + after) + len(before)

    def edit(self, removed: int, inserted: str, text_after: str = "") -> None:
        """Replace `removed` characters right of the cursor and step behind what is inserted.

        `text_after` is put right of the cursor, as a bracket that an editor closes.
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
        """Type key by key, asking at each and cancelling the request before; return the last."""
        asked: _Asked | None = None
        for character in text:
            if asked is not None:
                await asyncio.sleep(seconds_per_key)
                self._cancel(asked)
            self.edit(0, character)
            asked = self._ask(types.InlineCompletionTriggerKind.Automatic)
        if asked is None:
            raise ValueError("type at least one character")
        return await self._shown(asked)

    async def press(
        self, key: str, pause: float, *, removed: int = 0, text_after: str = ""
    ) -> GhostText | None:
        """Press one key and wait for `pause` seconds, as a person does before the next.

        See `edit` for what it does. Returns what is shown by then; None where no answer came in
        time, which is then taken back.
        """
        self.edit(removed, key, text_after)
        asked = self._ask(types.InlineCompletionTriggerKind.Automatic)
        answer = asyncio.ensure_future(self._shown(asked))
        await asyncio.wait([answer], timeout=pause)
        rest = pause - (time.perf_counter() - asked.started)
        await asyncio.sleep(max(0.0, rest))
        if answer.done():
            return answer.result()
        self._cancel(asked)
        self._left.add(answer)  # its refusal still comes, and is nobody's concern
        answer.add_done_callback(self._left.discard)
        return None

    async def invoke(self) -> GhostText:
        """Ask at the cursor, as the editor's command for it does."""
        return await self._shown(self._ask(types.InlineCompletionTriggerKind.Invoked))

    def _ask(self, kind: types.InlineCompletionTriggerKind) -> _Asked:
        params = types.InlineCompletionParams(
            context=types.InlineCompletionContext(kind),
            text_document=types.TextDocumentIdentifier(self.uri),
            position=self._position(self.cursor),
        )
        request_id = str(uuid.uuid4())
        future = self.client.protocol.send_request(
            types.TEXT_DOCUMENT_INLINE_COMPLETION, params, msg_id=request_id
        )
        return _Asked(request_id, future, time.perf_counter())

    def _cancel(self, asked: _Asked) -> None:
        if not asked.future.done():
            self.client.cancel_request(types.CancelParams(asked.id))

    async def _shown(self, asked: _Asked) -> GhostText:
        try:
            answer = await asyncio.wrap_future(asked.future)
        except JsonRpcException as error:
            return GhostText("", error.message, 0.0)
        milliseconds = (time.perf_counter() - asked.started) * 1000
        items: Sequence[types.InlineCompletionItem] = getattr(answer, "items", answer) or []
        why, source = (str(self.status.get(name) or "") for name in ("why", "source"))
        if not items:
            return GhostText("", why, milliseconds, source=source)
        return self._ghost(items[0], GhostText("", why, milliseconds, source=source))

    def _ghost(self, item: types.InlineCompletionItem, empty: GhostText) -> GhostText:
        text = item.insert_text if isinstance(item.insert_text, str) else item.insert_text.value
        if item.range is None:
            return replace(empty, text=text)
        start, end = self._offset(item.range.start), self._offset(item.range.end)
        return replace(
            empty, text=text[self.cursor - start :], replaced=self.text[self.cursor : end]
        )

    def accept(self, ghost: GhostText) -> None:
        """Take the suggestion, as Tab does."""
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


@asynccontextmanager
async def editor_with_server(
    settings: dict[str, Any], roots: Sequence[Path] = ()
) -> AsyncIterator[ScriptedEditor]:
    """Start the server in a process of its own, as an editor does, and end it in good order.

    `roots` are the folders that the editor has open.
    """
    client = LanguageClient("starcoder-lsp-demo", "1")
    folders = [types.WorkspaceFolder(root.resolve().as_uri(), root.name) for root in roots]
    editor = ScriptedEditor(client)
    client.feature("starcoder/status")(lambda params: editor.status.update(params._asdict()))
    client.feature(types.WINDOW_SHOW_MESSAGE)(lambda params: editor.messages.append(params.message))
    await client.start_io(sys.executable, "-P", "-m", "lsp_server")
    stderr = asyncio.create_task(_drain(client))
    try:
        await client.initialize_async(
            types.InitializeParams(
                capabilities=types.ClientCapabilities(
                    text_document=types.TextDocumentClientCapabilities(
                        inline_completion=types.InlineCompletionClientCapabilities()
                    )
                ),
                process_id=os.getpid(),
                workspace_folders=folders or None,
                initialization_options=settings,
            )
        )
        client.initialized(types.InitializedParams())
        yield editor
        await client.shutdown_async(None)
    finally:
        client.exit(None)
        await client.stop()  # type: ignore[no-untyped-call]
        await stderr


async def _drain(client: LanguageClient) -> None:
    # Unread, a pipe fills up and the server stands still at its next line of log.
    server = client._server
    if server is not None and server.stderr is not None:
        while await server.stderr.read(65536):
            pass
