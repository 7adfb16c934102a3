"""A simulated editor for llama.cpp's own server: the behaviour of plugins such as llama.vim.

It sends an `/infill` request at every key and cancels the previous one. While the user types what
the last suggestion says, it shows the rest of that suggestion and sends no request.
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

from benchmarks.peers.process import peer_environment
from fim.evaluation.counts import GhostText
from fim.snapshot import Source

_PREFIX_LINES, _SUFFIX_LINES = 256, 64
"""Lines to send, as by default in llama.vim. The server fills three fourths of its batch with the
prefix and the rest with the suffix."""
_NEW_TOKENS = 64
_HEALTH_POLL_S = 0.1


class LlamaEditor:
    """One open document and one cursor, with suggestions of a server over HTTP."""

    def __init__(self, http: httpx2.AsyncClient, debounce_s: float = 0.0) -> None:
        self._http, self._debounce_s = http, debounce_s
        self._shown = ("", "")
        """The text before the cursor when the last suggestion arrived, and that suggestion."""
        self.text, self.cursor = "", 0

    def open(self, text: str, cursor: int) -> None:
        """Open a document."""
        self.text, self.cursor, self._shown = text, cursor, ("", "")

    async def type(self, text: str, seconds_per_key: float) -> GhostText:
        """Type key by key, send a request at each key, and return the last suggestion.

        Each key cancels the previous request, as in `lsp_server.cli.editor.ScriptedEditor.type`.
        """
        request: asyncio.Task[GhostText] | None = None
        for character in text:
            if request is not None:
                await asyncio.sleep(seconds_per_key)
                request.cancel()
                await asyncio.gather(request, return_exceptions=True)
            self.text = self.text[: self.cursor] + character + self.text[self.cursor :]
            self.cursor += 1
            request = asyncio.create_task(self._suggestion())
        assert request is not None
        return await request

    async def _suggestion(self) -> GhostText:
        started, before = time.perf_counter(), self.text[: self.cursor]
        source, content = Source.TYPED_THROUGH, self._typed_through(before)
        if not content:
            await asyncio.sleep(self._debounce_s)
            response = await self._http.post("/infill", json=self._body(before))
            response.raise_for_status()
            source, content = Source.MODEL, str(response.json()["content"])
            self._shown = (before, content)
        elapsed = (time.perf_counter() - started) * 1000
        return GhostText(content, "", elapsed, source=source)

    def _typed_through(self, before: str) -> str:
        """Return the rest of the last suggestion; empty if the user typed something else."""
        shown_before, suggestion = self._shown
        typed = before.removeprefix(shown_before)
        matches = before.startswith(shown_before) and suggestion.startswith(typed)
        return suggestion[len(typed) :] if matches else ""

    def _body(self, before: str) -> dict[str, object]:
        head, _, current_line = before.rpartition("\n")
        lines = [f"{line}\n" for line in head.split("\n")] if "\n" in before else []
        after = self.text[self.cursor :].split("\n")
        return {
            "input_prefix": "".join(lines[-_PREFIX_LINES:]),
            "prompt": current_line,
            "input_suffix": "\n".join(after[:_SUFFIX_LINES]),
            "n_predict": _NEW_TOKENS,
            "temperature": 0,
            "cache_prompt": True,
            "stop": ["\n"],
        }

    async def computed_tokens(self) -> int:
        """Return the number of tokens that the server has computed since its start."""
        metrics = (await self._http.get("/metrics")).text
        names = ("prompt_tokens_total", "tokens_predicted_total")
        matches = [re.search(rf"^llamacpp:{name} (\d+)", metrics, re.MULTILINE) for name in names]
        return sum(int(match[1]) for match in matches if match)


@asynccontextmanager
async def llama_server(
    program: Path, file: Path, *, context: int, batch: int, threads: int, suffix_first: bool
) -> AsyncIterator[httpx2.AsyncClient]:
    """Start llama.cpp's server with a GGUF file, and wait until it has loaded the model."""
    port = _free_port()
    arguments = {
        "-m": file,
        "-c": context,
        "-b": batch,
        "-np": 1,
        "-t": threads,
        "--host": "127.0.0.1",
        "--port": port,
    }
    flags = ["--metrics", "--spm-infill"] if suffix_first else ["--metrics"]
    process = await asyncio.create_subprocess_exec(
        str(program),
        *(str(part) for argument in arguments.items() for part in argument),
        *flags,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        env=peer_environment(),
    )
    try:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=600) as http:
            while not await _is_healthy(http):
                if process.returncode is not None:
                    raise RuntimeError(f"{program} ended with status {process.returncode}")
                await asyncio.sleep(_HEALTH_POLL_S)
            yield http
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


async def _is_healthy(http: httpx2.AsyncClient) -> bool:
    try:
        return (await http.get("/health")).status_code == 200
    except httpx2.TransportError:
        return False
