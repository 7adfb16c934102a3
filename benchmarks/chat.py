"""Cost of chat through the real server and engine: first token, and completions during a chat.

The time to the first token through the server is compared with the same dialogue sent to the engine
directly, by turns in the same run. Completions during a chat are compared with completions at the
same cursors without a chat.
"""

from __future__ import annotations

import asyncio
import json
import platform
import random
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from lsprotocol import types
from rich.console import Console
from rich.table import Table

from benchmarks.pipeline import python_file
from chat.asker import Asker
from engine.api import Message
from engine.client.managed import DEFAULT_COMMAND, ManagedEngine
from engine.settings import EngineSettings
from fim.evaluation.report import percentile
from lsp_server.cli.editor import ScriptedEditor, editor_with_server

_QUESTION = "Write a Python function `read_lines_{}`. Return the lines of a file."
_PROGRESS_TOKEN = "benchmark"

_FIRST_ENGINE, _FIRST_SERVER = "first token, engine", "first token, server"
_ALONE, _DURING_CHAT = "completion, alone", "completion, during a chat"


class _Chat:
    """Chat requests through the server, with their streamed answers."""

    def __init__(self, editor: ScriptedEditor) -> None:
        self._editor = editor
        self._chunk_arrived = asyncio.Event()
        editor.client.feature("$/progress")(lambda params: self._on_progress(params))

    def _on_progress(self, params: types.ProgressParams) -> None:
        if params.token == _PROGRESS_TOKEN:
            self._chunk_arrived.set()

    async def _request(self, method: str, params: dict[str, str]) -> Any:
        return await self._editor.client.protocol.send_request_async(method, params)

    @asynccontextmanager
    async def answering(self, question: str) -> AsyncIterator[float]:
        """Send a question, run the block while the server answers, and stop the answer.

        Yields the milliseconds to the first chunk of the answer.
        """
        conversation = (await self._request("starcoder/chat/create", {})).id
        self._chunk_arrived.clear()
        started = time.perf_counter()
        params = {
            "conversation": conversation,
            "text": question,
            "partialResultToken": _PROGRESS_TOKEN,
        }
        answer = asyncio.ensure_future(self._request("starcoder/chat/send", params))
        await self._chunk_arrived.wait()
        yield (time.perf_counter() - started) * 1000
        await self._request("starcoder/chat/stop", {"conversation": conversation})
        await answer


async def _first_token_of_engine(asker: Asker, question: str) -> float:
    """Return the milliseconds to the first token without a server."""
    started = time.perf_counter()
    stream = asker.stream(await asker.prepare([Message("user", question)]))
    async for chunk in stream:
        if chunk.text:
            break
    milliseconds = (time.perf_counter() - started) * 1000
    await stream.aclose()
    return milliseconds


async def _completion(editor: ScriptedEditor, rng: random.Random) -> float:
    """Type at a random cursor and invoke a completion; return the milliseconds to the answer."""
    cursors = [
        offset for offset in range(len(editor.text)) if editor.text.startswith(", other, ", offset)
    ]
    editor.cursor = rng.choice(cursors)
    editor.edit(0, f", x{rng.randrange(10_000)}")
    return (await editor.invoke()).milliseconds


async def _measure(model: str, rounds: int, completions: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {
        name: [] for name in (_FIRST_ENGINE, _FIRST_SERVER, _ALONE, _DURING_CHAT)
    }
    command = (*DEFAULT_COMMAND, "--chat-renderer", "chat.rendering:render")
    engine = ManagedEngine(EngineSettings(model=model), command)
    settings = {"model": model, "eagerness": "eager", "statistics": False}
    async with editor_with_server(settings) as editor:
        await editor.wait_until_ready()
        chat, asker = _Chat(editor), Asker(engine)
        for number in range(rounds + 1):
            question = _QUESTION.format(number)
            of_engine = await _first_token_of_engine(asker, f"{question} ")
            async with chat.answering(question) as of_server:
                pass
            if number:  # the first round warms up
                times[_FIRST_ENGINE].append(of_engine)
                times[_FIRST_SERVER].append(of_server)
        editor.open(python_file(400))
        rng = random.Random(0)
        await _completion(editor, rng)
        for number in range(completions):
            times[_ALONE].append(await _completion(editor, rng))
            async with chat.answering(_QUESTION.format(f"again_{number}")):
                times[_DURING_CHAT].append(await _completion(editor, rng))
    await engine.aclose()
    return times


def main(
    model: Annotated[str, typer.Option(help="`demo`, a directory or a Hub id.")] = "demo",
    rounds: Annotated[int, typer.Option(min=2, help="Questions to each side.")] = 15,
    completions: Annotated[int, typer.Option(min=2, help="Completions of each kind.")] = 20,
    out: Annotated[
        Path | None, typer.Option("--json", help="Write every time to this file.")
    ] = None,
) -> None:
    """Print medians, 95th percentiles and ratios."""
    times = asyncio.run(_measure(model, rounds, completions))
    table = Table(title=f"{model}; {platform.processor() or 'CPU'}, ms")
    for column in ("", "p50", "p95", "ratio of p50"):
        table.add_column(column)
    for baseline, compared in ((_FIRST_ENGINE, _FIRST_SERVER), (_ALONE, _DURING_CHAT)):
        for name in (baseline, compared):
            median = statistics.median(times[name])
            p95 = percentile(sorted(times[name]), 0.95)
            ratio = median / statistics.median(times[baseline])
            table.add_row(name, f"{median:.1f}", f"{p95:.1f}", f"{ratio:.2f}")
    Console().print(table)
    if out is not None:
        out.write_text(json.dumps(times), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
