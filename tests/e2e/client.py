"""An editor for tests: pytest-lsp's client around the real server process."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from lsprotocol import types
from pytest_lsp import LanguageClient, client_capabilities
from pytest_lsp.client import DEFAULT_CLIENT_FEATURES, register_lsp_features

SERVER = [sys.executable, "-P", "-m", "lsp_server"]
URI = "file:///work-space/example.py"


def scripted(answer: str, seconds_per_token: float = 0.0) -> list[str]:
    """Command of a real server with a scripted engine."""
    escaped = answer.encode("unicode_escape").decode()
    return [sys.executable, "-P", "-m", "tests.scripted_server", escaped, str(seconds_per_token)]


def capabilities(editor: str, *, progress: bool = False) -> types.ClientCapabilities:
    """What an editor says of itself, with the inline completion that its newer versions have."""
    known = client_capabilities(editor)
    assert known.text_document is not None
    known.text_document.inline_completion = types.InlineCompletionClientCapabilities()
    if known.window is not None:
        known.window.work_done_progress = progress or None
    return known


class Editor:
    """One open document, kept as the client has it, and the server's words."""

    def __init__(self, client: LanguageClient) -> None:
        self.client = client
        self.text = ""
        self.version = 0
        self.statuses: list[dict[str, Any]] = []
        self.progress: list[tuple[str | int, Any]] = []
        self.encoding = "utf-16"
        self.offered = types.ServerCapabilities()

    def open(self, text: str, uri: str = URI, language: str = "python") -> None:
        self.text, self.version, self.uri = text, 1, uri
        item = types.TextDocumentItem(uri, language, 1, text)
        self.client.text_document_did_open(types.DidOpenTextDocumentParams(item))

    def position(self, offset: int) -> types.Position:
        """Positions counted apart from the product's own code: lines end at \\r\\n, \\n or \\r."""
        lines = self.text[:offset].replace("\r\n", "\n").replace("\r", "\n").split("\n")
        units = {"utf-8": "utf-8", "utf-16": "utf-16-le", "utf-32": "utf-32-le"}[self.encoding]
        width = {"utf-8": 1, "utf-16": 2, "utf-32": 4}[self.encoding]
        return types.Position(len(lines) - 1, len(lines[-1].encode(units)) // width)

    def insert(self, offset: int, text: str) -> None:
        at = self.position(offset)
        self.version += 1
        self.client.text_document_did_change(
            types.DidChangeTextDocumentParams(
                types.VersionedTextDocumentIdentifier(self.version, self.uri),
                [types.TextDocumentContentChangePartial(range=types.Range(at, at), text=text)],
            )
        )
        self.text = self.text[:offset] + text + self.text[offset:]

    def ask(
        self, offset: int, *, invoked: bool = False, number: str | None = None
    ) -> Future[types.InlineCompletionList | None]:
        kinds = types.InlineCompletionTriggerKind
        params = types.InlineCompletionParams(
            context=types.InlineCompletionContext(kinds.Invoked if invoked else kinds.Automatic),
            text_document=types.TextDocumentIdentifier(self.uri),
            position=self.position(offset),
        )
        method = types.TEXT_DOCUMENT_INLINE_COMPLETION
        future: Future[Any] = self.client.protocol.send_request(method, params, msg_id=number)
        return future

    async def suggestion(self, offset: int, *, invoked: bool = False) -> str | None:
        """Text of the first suggestion, None for none."""
        answer = await asyncio.wrap_future(self.ask(offset, invoked=invoked))
        items: Sequence[Any] = getattr(answer, "items", None) or []
        return str(items[0].insert_text) if items else None

    async def request(self, method: str, params: Any = None) -> Any:
        return plain(await self.client.protocol.send_request_async(method, params or {}))

    def streamed(self, token: str | int) -> list[str]:
        """The pieces of text that came under a token so far."""
        return [value["text"] for found, value in self.progress if found == token]

    async def working_on(self, title: str) -> str | int:
        """Wait until progress of that title is shown; returns its token."""
        while True:
            for token, value in self.progress:
                if value.get("title", "").endswith(title):
                    return token
            await asyncio.sleep(0.01)

    async def until(self, state: str, seconds: float = 60.0) -> dict[str, Any]:
        """Wait for a status; returns it."""
        async with asyncio.timeout(seconds):
            while not self.statuses or self.statuses[-1]["state"] != state:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        return self.statuses[-1]


def plain(value: Any) -> Any:
    """pygls' anonymous objects as dictionaries."""
    if hasattr(value, "_asdict"):
        return {key: plain(inner) for key, inner in value._asdict().items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return value


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
) -> AsyncIterator[Editor]:
    """Run a server process until the block ends."""
    client = LanguageClient(configuration=configuration)
    features = dict(DEFAULT_CLIENT_FEATURES)
    features.pop("$/progress", None)  # ours below
    register_lsp_features(client, features)
    shown = Editor(client)
    client.feature("starcoder/status")(lambda params: shown.statuses.append(plain(params)))
    client.feature("$/progress")(
        lambda params: shown.progress.append((params.token, plain(params.value)))
    )
    await client.start_io(*command, env={**os.environ, **(environment or {})}, cwd=_root())
    try:
        result = await client.initialize_session(
            types.InitializeParams(
                capabilities=capabilities(editor, progress=progress),
                process_id=os.getpid(),
                initialization_options=settings,
                workspace_folders=folders,
            )
        )
        shown.offered = result.capabilities
        shown.encoding = str(result.capabilities.position_encoding or "utf-16")
        yield shown
    finally:
        server = client._server
        if server is not None and server.returncode is None:
            await client.shutdown_session()
        await asyncio.wait_for(client.stop(), 10)


def _root() -> Path:
    return Path(__file__).parent.parent.parent
