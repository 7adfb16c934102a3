"""An editor at llama.cpp's own server: what plugins such as llama.vim do, without the editor.

It asks `/infill` at every key, takes the request before back, and shows the rest of a suggestion
that is typed along without asking again.
"""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2

from fim.evaluation.counts import GhostText
from fim.snapshot import Source

_PREFIX_LINES, _SUFFIX_LINES = 256, 64
"""That are sent: llama.vim's defaults. The server takes three fourths of its batch of the prefix
and the rest of the suffix."""
_NEW_TOKENS = 64


class LlamaEditor:
    """One open document and one cursor, at a server that is asked over HTTP."""

    def __init__(self, http: httpx2.AsyncClient, debounce_s: float = 0.0) -> None:
        self._http, self._debounce_s = http, debounce_s
        self._shown = ("", "")
        """A suggestion that came, and the text before the cursor then."""
        self.text, self.cursor = "", 0

    def open(self, text: str, cursor: int) -> None:
        """Open a document."""
        self.text, self.cursor, self._shown = text, cursor, ("", "")

    async def type(self, text: str, seconds_per_key: float) -> GhostText:
        """Type key by key, asking at each and taking back what was asked before; return the last.

        As `lsp_server.cli.editor.ScriptedEditor.type`.
        """
        asked: asyncio.Task[GhostText] | None = None
        for character in text:
            if asked is not None:
                await asyncio.sleep(seconds_per_key)
                asked.cancel()
                await asyncio.gather(asked, return_exceptions=True)
            self.text = self.text[: self.cursor] + character + self.text[self.cursor :]
            self.cursor += 1
            asked = asyncio.create_task(self._ask())
        assert asked is not None
        return await asked

    async def _ask(self) -> GhostText:
        started, before = time.perf_counter(), self.text[: self.cursor]
        source, content = Source.TYPED_THROUGH, self._typed_through(before)
        if not content:
            await asyncio.sleep(self._debounce_s)
            answer = await self._http.post("/infill", json=self._body(before))
            answer.raise_for_status()
            source, content = Source.MODEL, str(answer.json()["content"])
            self._shown = (before, content)
        elapsed = (time.perf_counter() - started) * 1000
        return GhostText(content, "", elapsed, source=source)

    def _typed_through(self, before: str) -> str:
        was_before, suggestion = self._shown
        typed = before.removeprefix(was_before)
        along = before.startswith(was_before) and suggestion.startswith(typed)
        return suggestion[len(typed) :] if along else ""

    def _body(self, before: str) -> dict[str, object]:
        head, _, line = before.rpartition("\n")
        lines = [f"{one}\n" for one in head.split("\n")] if "\n" in before else []
        after = self.text[self.cursor :].split("\n")
        return {
            "input_prefix": "".join(lines[-_PREFIX_LINES:]),
            "prompt": line,
            "input_suffix": "\n".join(after[:_SUFFIX_LINES]),
            "n_predict": _NEW_TOKENS,
            "temperature": 0,
            "cache_prompt": True,
            "stop": ["\n"],
        }

    async def computed(self) -> int:
        """Return how many tokens the server has computed since its start."""
        told = (await self._http.get("/metrics")).text
        names = ("prompt_tokens_total", "tokens_predicted_total")
        found = [re.search(rf"^llamacpp:{name} (\d+)", told, re.MULTILINE) for name in names]
        return sum(int(one[1]) for one in found if one)


@asynccontextmanager
async def llama_server(
    program: Path, file: Path, *, context: int, batch: int, threads: int, suffix_first: bool
) -> AsyncIterator[httpx2.AsyncClient]:
    """Start llama.cpp's server with a GGUF, and wait until it has loaded it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    arguments = [
        "-m",
        file,
        "-c",
        context,
        "-b",
        batch,
        "-np",
        1,
        "-t",
        threads,
        "--metrics",
        "--host",
        "127.0.0.1",
        "--port",
        port,
        *(["--spm-infill"] if suffix_first else []),
    ]
    process = await asyncio.create_subprocess_exec(
        str(program),
        *map(str, arguments),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=600) as http:
            while not await _answers(http):
                if process.returncode is not None:
                    raise RuntimeError(f"{program} ended with {process.returncode}")
                await asyncio.sleep(0.1)
            yield http
    finally:
        process.terminate()
        await process.wait()


async def _answers(http: httpx2.AsyncClient) -> bool:
    try:
        return (await http.get("/health")).status_code == 200
    except httpx2.TransportError:
        return False
