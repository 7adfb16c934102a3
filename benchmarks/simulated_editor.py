"""A simulated editor in this process: the completer as the server uses it, and a clock that skips.

Once a request is answered and the engine is idle, the rest of the pause before the next key is
skipped, but the clock counts it as passed. So the results are those of real typing, in less time:
which suggestions are shown, which come too late, and how often the model is asked.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field

from fim.completer import Completer
from fim.evaluation.counts import GhostText
from fim.snapshot import CompletionResult, Snapshot, Source, Trigger
from lsp_server.session.debounce import AdaptiveDebounce


@dataclass
class SimulatedEditor:
    """One document and one cursor; implements `fim.evaluation.typist.Editor`."""

    completer: Completer
    uri: str = ""
    language: str = ""
    text: str = ""
    cursor: int = 0
    _debounce: AdaptiveDebounce = field(default_factory=AdaptiveDebounce)
    skipped_s: float = 0.0
    """Seconds of pauses that were skipped."""

    def open(self, text: str, cursor: int, uri: str, language: str) -> None:
        """Switch to another document."""
        self.text, self.cursor, self.uri, self.language = text, cursor, uri, language

    @property
    def calls(self) -> int:
        """Number of requests to the model so far."""
        return self.completer.model.num_requests

    async def press(
        self, key: str, pause: float, *, removed: int = 0, text_after: str = ""
    ) -> GhostText | None:
        """Press a key and wait; see `fim.evaluation.typist.Editor.press`."""
        rest = self.text[self.cursor + removed :]
        self.text = self.text[: self.cursor] + key + text_after + rest
        self.cursor += len(key)
        snapshot = Snapshot(self.uri, self.language, self.text, self.cursor)
        started = time.perf_counter()
        self._debounce.on_key((started + self.skipped_s) * 1000)
        answer = asyncio.create_task(self._answer(snapshot))
        await asyncio.wait([answer], timeout=pause)
        if not answer.done():
            answer.cancel()
            await asyncio.gather(answer, return_exceptions=True)
            return None
        milliseconds, result = answer.result()
        remaining = max(0.0, pause - (time.perf_counter() - started))
        with suppress(TimeoutError):
            await asyncio.wait_for(self.completer.idle(), remaining)
        self.skipped_s += max(0.0, pause - (time.perf_counter() - started))
        return self._ghost_text(result, milliseconds)

    async def _answer(self, snapshot: Snapshot) -> tuple[float, CompletionResult]:
        started = time.perf_counter()
        if self.completer.needs_model(snapshot) and snapshot.line_before.strip():
            await asyncio.sleep(self._debounce.delay_ms() / 1000)
        result = await self.completer.complete(snapshot, Trigger.AUTOMATIC)
        if result.source is Source.MODEL:
            self._debounce.on_answer(result.model_ms)
        return (time.perf_counter() - started) * 1000, result

    def _ghost_text(self, result: CompletionResult, milliseconds: float) -> GhostText:
        source = str(result.source)
        if not result.suggestions:
            return GhostText("", result.explanation, milliseconds, source=source)
        suggestion = result.suggestions[0]
        replaced = self.text[self.cursor : suggestion.replace_end]
        return GhostText(suggestion.text, result.explanation, milliseconds, replaced, source)
