"""The contenders of `benchmarks.typing`: our server and llama.cpp's, each with its editor."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import httpx2

from benchmarks.engine_metrics import engine_values
from benchmarks.light_editor import BurstAnswer, LightEditor
from benchmarks.llama_server import LlamaEditor, llama_server
from engine.client.endpoint import RuntimeFiles
from engine.settings import EngineSettings
from fim.evaluation.counts import Passage


class Contender(Protocol):
    """An editor and the server that answers its requests."""

    def open(self, passage: Passage) -> None:
        """Open the file without the passage, with the cursor at the passage's start."""

    async def type(self, text: str, seconds_per_key: float) -> BurstAnswer:
        """Type key by key, and wait for the answer to the last one."""

    async def computed_tokens(self) -> int:
        """Return the number of tokens that the server has computed since its start."""


class OurServer:
    """Our language server and engine."""

    def __init__(self, editor: LightEditor, metrics: httpx2.AsyncClient) -> None:
        self._editor, self._metrics = editor, metrics

    def open(self, passage: Passage) -> None:
        """Open the file without the passage."""
        self._editor.open(passage)

    async def type(self, text: str, seconds_per_key: float) -> BurstAnswer:
        """Type key by key, and wait for the answer to the last one."""
        return await self._editor.type(text, [seconds_per_key] * len(text))

    async def computed_tokens(self) -> int:
        """Return the number of tokens that the server has computed since its start."""
        values = engine_values((await self._metrics.get("/metrics")).text)
        return values["starcoder_computed_tokens_total"]


class LlamaServer:
    """llama.cpp's server, which answers `/infill`."""

    def __init__(self, editor: LlamaEditor) -> None:
        self._editor = editor

    def open(self, passage: Passage) -> None:
        """Open the file without the passage."""
        self._editor.open(passage.initial_text, passage.start)

    async def type(self, text: str, seconds_per_key: float) -> BurstAnswer:
        """Type key by key, and wait for the answer to the last one."""
        ghost = await self._editor.type(text, seconds_per_key)
        return BurstAnswer(ghost.milliseconds, ghost.source, bool(ghost.text))

    async def computed_tokens(self) -> int:
        """Return the number of tokens that the server has computed since its start."""
        return await self._editor.computed_tokens()


@dataclass(frozen=True, slots=True)
class PeerServer:
    """llama.cpp's server with one order of the prompt's parts."""

    program: Path
    file: Path
    context: int
    batch: int
    threads: int
    suffix_first: bool

    def serve(self) -> AbstractAsyncContextManager[httpx2.AsyncClient]:
        """Start the server; yields a client of it."""
        return llama_server(
            self.program,
            self.file,
            context=self.context,
            batch=self.batch,
            threads=self.threads,
            suffix_first=self.suffix_first,
        )


def engine_client(settings: EngineSettings) -> httpx2.AsyncClient:
    """Return an HTTP client of the engine process, which must be running."""
    endpoint = RuntimeFiles.for_settings(settings).resolved().endpoint()
    assert endpoint is not None
    headers = {"Authorization": f"Bearer {endpoint.token}"} if endpoint.token else {}
    uds = None if endpoint.uds is None else str(endpoint.uds)
    transport = httpx2.AsyncHTTPTransport(uds=uds)
    return httpx2.AsyncClient(base_url=endpoint.url, headers=headers, transport=transport)
