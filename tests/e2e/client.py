"""An editor for tests: the client of pytest-lsp, connected to a real server process."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from lsprotocol import types
from pytest_lsp import LanguageClient, client_capabilities
from pytest_lsp.client import DEFAULT_CLIENT_FEATURES, register_lsp_features

ROOT = Path(__file__).parent.parent.parent
SERVER = [sys.executable, "-P", "-m", "lsp_server"]
URI = "file:///work-space/example.py"


def scripted(answer: str, seconds_per_token: float = 0.0) -> list[str]:
    """Return the command of a real server with a scripted engine."""
    escaped = answer.encode("unicode_escape").decode()
    return [sys.executable, "-P", "-m", "tests.scripted_server", escaped, str(seconds_per_token)]


def to_plain(value: Any) -> Any:
    """Return JSON with dictionaries in place of the anonymous named tuples of pygls's client."""
    if hasattr(value, "_asdict"):
        return {key: to_plain(inner) for key, inner in value._asdict().items()}
    if isinstance(value, dict):
        return {key: to_plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [to_plain(inner) for inner in value]
    return value


class Editor:
    """One open document with the text that the client has, and what the server sent."""

    def __init__(self, client: LanguageClient) -> None:
        self.client = client
        self.uri = ""
        self.text = ""
        self.version = 0
        self.statuses: list[dict[str, Any]] = []
        self.progress: list[tuple[str | int, Any]] = []
        self.encoding = "utf-16"
        self.server_capabilities = types.ServerCapabilities()

    def open(self, text: str, uri: str = URI, language: str = "python") -> None:
        self.text, self.version, self.uri = text, 1, uri
        item = types.TextDocumentItem(uri, language, 1, text)
        self.client.text_document_did_open(types.DidOpenTextDocumentParams(item))

    def position(self, offset: int) -> types.Position:
        """Return a position without the product's code: lines end at \\r\\n, \\n or \\r."""
        lines = self.text[:offset].replace("\r\n", "\n").replace("\r", "\n").split("\n")
        codec = {"utf-8": "utf-8", "utf-16": "utf-16-le", "utf-32": "utf-32-le"}[self.encoding]
        width = {"utf-8": 1, "utf-16": 2, "utf-32": 4}[self.encoding]
        return types.Position(len(lines) - 1, len(lines[-1].encode(codec)) // width)

    def insert(self, offset: int, text: str) -> None:
        position = self.position(offset)
        range_ = types.Range(position, position)
        self.version += 1
        self.client.text_document_did_change(
            types.DidChangeTextDocumentParams(
                types.VersionedTextDocumentIdentifier(self.version, self.uri),
                [types.TextDocumentContentChangePartial(range=range_, text=text)],
            )
        )
        self.text = self.text[:offset] + text + self.text[offset:]

    def request_completion(
        self, offset: int, *, invoked: bool = False, request_id: str | None = None
    ) -> Future[types.InlineCompletionList | None]:
        kinds = types.InlineCompletionTriggerKind
        params = types.InlineCompletionParams(
            context=types.InlineCompletionContext(kinds.Invoked if invoked else kinds.Automatic),
            text_document=types.TextDocumentIdentifier(self.uri),
            position=self.position(offset),
        )
        method = types.TEXT_DOCUMENT_INLINE_COMPLETION
        future: Future[Any] = self.client.protocol.send_request(method, params, msg_id=request_id)
        return future

    async def suggestion(self, offset: int, *, invoked: bool = False) -> str | None:
        """Return the text of the first suggestion, None if there is none."""
        answer = await asyncio.wrap_future(self.request_completion(offset, invoked=invoked))
        items: Sequence[Any] = getattr(answer, "items", None) or []
        return str(items[0].insert_text) if items else None

    async def request(self, method: str, params: Any = None) -> Any:
        return to_plain(await self.client.protocol.send_request_async(method, params or {}))

    async def engine_requests(self) -> Any:
        """Return the requests to the scripted engine so far, see `tests.scripted_server`."""
        return await self.request("test/requests")

    def streamed(self, token: str | int) -> list[str]:
        """Return the pieces of text that were sent under a token so far."""
        values = [value for sent_token, value in self.progress if sent_token == token]
        return [value["text"] for value in values if "text" in value]

    async def wait_for_progress(self, title: str) -> str | int:
        """Wait until progress with this title is shown; return its token."""
        while True:
            for token, value in self.progress:
                if value.get("title", "").endswith(title):
                    return token
            await asyncio.sleep(0.01)

    async def wait_for_message(self, text: str, seconds: float = 10.0) -> None:
        """Wait until the client was asked to show a message."""
        async with asyncio.timeout(seconds):
            while text not in [message.message for message in self.client.messages]:  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async def wait_for_state(self, state: str, seconds: float = 60.0) -> dict[str, Any]:
        """Wait until the status has this state; return the status."""
        async with asyncio.timeout(seconds):
            while not self.statuses or self.statuses[-1]["state"] != state:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        return self.statuses[-1]


@asynccontextmanager
async def start(
    command: Sequence[str] = SERVER,
    *,
    editor: str = "visual-studio-code",
    progress: bool = False,
    settings: Any = None,
    configuration: Any = None,
    environment: dict[str, str] | None = None,
    folders: Sequence[types.WorkspaceFolder] | None = None,
    change_capabilities: Callable[[types.ClientCapabilities], None] | None = None,
) -> AsyncIterator[Editor]:
    """Run a server process until the block ends."""
    client = LanguageClient(configuration=configuration)
    features = dict(DEFAULT_CLIENT_FEATURES)
    features.pop("$/progress", None)  # handled below
    register_lsp_features(client, features)
    session = Editor(client)
    client.feature("starcoder/status")(lambda params: session.statuses.append(to_plain(params)))
    client.feature("$/progress")(
        lambda params: session.progress.append((params.token, to_plain(params.value)))
    )
    capabilities = _capabilities(editor, progress=progress)
    if change_capabilities is not None:
        change_capabilities(capabilities)
    await client.start_io(*command, env={**os.environ, **(environment or {})}, cwd=ROOT)
    try:
        result = await client.initialize_session(
            types.InitializeParams(
                capabilities=capabilities,
                process_id=os.getpid(),
                initialization_options=settings,
                workspace_folders=folders,
            )
        )
        session.server_capabilities = result.capabilities
        session.encoding = str(result.capabilities.position_encoding or "utf-16")
        yield session
    finally:
        if not client.stopped:
            await client.shutdown_session()
        await asyncio.wait_for(client.stop(), 10)


def _capabilities(editor: str, *, progress: bool) -> types.ClientCapabilities:
    """Return the capabilities of an editor, with inline completion as in its newer versions."""
    capabilities: types.ClientCapabilities = client_capabilities(editor)
    assert capabilities.text_document is not None
    capabilities.text_document.inline_completion = types.InlineCompletionClientCapabilities()
    if capabilities.window is not None:
        capabilities.window.work_done_progress = progress or None
    return capabilities


def use_encoding(name: str) -> Callable[[types.ClientCapabilities], None]:
    """Return a change of capabilities, for `start`: the client knows only this encoding."""

    def change(capabilities: types.ClientCapabilities) -> None:
        assert capabilities.general is not None
        capabilities.general.position_encodings = [types.PositionEncodingKind(name)]

    return change
