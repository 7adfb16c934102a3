"""Where a typist sits in this process: the completer as the server uses it, and a clock that skips.

When an answer is there and the engine has nothing more to do, the rest of a pause between two keys
would be spent waiting for nobody. It is skipped, and counted as passed: what is shown, what comes
too late and how often the model is asked is as at the keyboard, in less time.
"""

from __future__ import annotations

import asyncio
import time
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
    """Seconds."""

    def open(self, text: str, cursor: int, uri: str, language: str) -> None:
        """Go to another document."""
        self.text, self.cursor, self.uri, self.language = text, cursor, uri, language

    @property
    def calls(self) -> int:
        """How often the model was asked so far."""
        return self.completer.num_requests

    async def press(
        self, key: str, pause: float, *, removed: int = 0, text_after: str = ""
    ) -> GhostText | None:
        """See `Editor.press`."""
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
        at_work = [flight._task for flight in self.completer._flights if not flight.over]
        if at_work:
            left = pause - (time.perf_counter() - started)
            await asyncio.wait(at_work, timeout=max(0.0, left))
        self.skipped_s += max(0.0, pause - (time.perf_counter() - started))
        return self._ghost(result, milliseconds)

    async def _answer(self, snapshot: Snapshot) -> tuple[float, CompletionResult]:
        started = time.perf_counter()
        if self.completer.needs_model(snapshot) and snapshot.line_before.strip():
            await asyncio.sleep(self._debounce.delay_ms() / 1000)
        result = await self.completer.complete(snapshot, Trigger.AUTOMATIC)
        if result.source is Source.MODEL:
            self._debounce.on_answer(result.model_ms)
        return (time.perf_counter() - started) * 1000, result

    def _ghost(self, result: CompletionResult, milliseconds: float) -> GhostText:
        source = str(result.source)
        if not result.suggestions:
            return GhostText("", result.explanation, milliseconds, source=source)
        one = result.suggestions[0]
        replaced = self.text[self.cursor : one.replace_end]
        return GhostText(one.text, result.explanation, milliseconds, replaced, source)
