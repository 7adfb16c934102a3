"""From a snapshot to suggestions: the one place where the steps of a completion come together."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from engine.api import Engine, FinishReason, GenerationRequest, Priority, Sampling
from fim import clean as cleaning
from fim import prompt as prompting
from fim.cache import Cached, SuggestionCache
from fim.confidence import THRESHOLDS, Eagerness, Scorer, Scores
from fim.cut import Extent, Scope, cut, scope_of
from fim.families import FimFamily, detect
from fim.flight import Flight
from fim.loops import without_loops
from fim.snapshot import (
    CompletionResult,
    SelectedText,
    Snapshot,
    Source,
    Suggestion,
    Trigger,
)
from fim.speed import Speed
from fim.window import Encode, remembering

_IN_A_WORD = "the cursor is in the middle of a word"
_NOTHING = "the model has nothing to add here"


@dataclass(frozen=True, slots=True)
class FimSettings:
    """How completions are made."""

    max_new_tokens: int = 128
    """Room that is kept for the answer, in tokens; a line takes at most half of it."""
    max_prompt_tokens: int = 2048
    """More context is better and slower; the model's context window is the other limit."""
    multiline: Literal["auto", "never"] = "auto"
    """`auto` offers a block where one is begun."""
    form: prompting.Form | Literal["auto"] = "auto"
    """How the prompt is ordered, see `fim.prompt`; `auto` is what the model says it is best at."""
    adapter: str | None = None
    """Name of the LoRA adapter to complete with."""
    temperature: float = 0.0
    eagerness: Eagerness = "balanced"
    """How sure the model must be before something is shown unasked."""
    cache_size: int = 500
    cache_seconds: float = 600.0


@dataclass(frozen=True, slots=True)
class _Model:
    """What the prompt needs to know of the engine."""

    encode: Encode
    family: FimFamily
    context_window: int
    form: prompting.Form


class Completer:
    """Completes with one engine. Safe to call from many tasks of one event loop."""

    def __init__(self, engine: Engine, settings: FimSettings | None = None) -> None:
        self._engine = engine
        self.settings = settings or FimSettings()
        self._cache = SuggestionCache(self.settings.cache_size, self.settings.cache_seconds)
        self._flights: list[Flight] = []
        self._model: _Model | None = None
        self._tokens_per_second = 0.0
        self.asked = 0
        """How often the engine was asked so far."""

    def forget_model(self) -> None:
        """Ask the engine anew what it holds: it is another one now."""
        self._model = None
        self._cache = SuggestionCache(self.settings.cache_size, self.settings.cache_seconds)
        for flight in self._flights:
            flight.stop()
        self._flights = []

    async def complete(
        self,
        snapshot: Snapshot,
        trigger: Trigger = Trigger.AUTOMATIC,
        selected: SelectedText | None = None,
    ) -> CompletionResult:
        """Return suggestions at the cursor; cancelling the task stops the engine.

        Raises StarcoderError.
        """
        if selected is not None:
            return await self._beyond(snapshot, trigger, selected)
        if trigger is Trigger.AUTOMATIC and snapshot.line_after[:1].isalnum():
            return CompletionResult((), Source.NONE, _IN_A_WORD)
        least = THRESHOLDS[self.settings.eagerness] if trigger is Trigger.AUTOMATIC else 0.0
        if (found := self._cache.find(snapshot)) is not None:
            return _result(snapshot, found, 0.0, least)
        started = asyncio.get_running_loop().time()
        while True:
            flight, typed = self._flight_for(snapshot)
            if await flight.wait(typed) and (found := self._cache.find(snapshot)) is not None:
                elapsed = (asyncio.get_running_loop().time() - started) * 1000
                found = replace(found, source=Source.JOINED if typed else Source.MODEL)
                result = _result(snapshot, found, elapsed, least)
                return replace(result, tokens_per_second=self._tokens_per_second)

    def knows(self, snapshot: Snapshot) -> bool:
        """Whether the model need not be asked anew for this place."""
        return self._cache.find(snapshot) is not None or self._joinable(snapshot) is not None

    def _joinable(self, snapshot: Snapshot) -> tuple[Flight, str] | None:
        for flight in self._flights:
            if not flight.over and (typed := flight.typed_since(snapshot)) is not None:
                return flight, typed
        return None

    def _flight_for(self, snapshot: Snapshot) -> tuple[Flight, str]:
        """Return a flight that may answer for a place, a new one if need be, and what was typed."""
        self._flights = [flight for flight in self._flights if not flight.over]
        joined = self._joinable(snapshot)
        if joined is None:
            for flight in self._flights:
                if flight.base.uri == snapshot.uri:
                    flight.stop_if_alone()  # it would only be in the way of this one
            joined = Flight(snapshot, partial(self._fill, snapshot)), ""
            self._flights.append(joined[0])
        return joined

    async def _fill(self, snapshot: Snapshot, grown: Callable[[str], None]) -> None:
        """Ask the engine and remember what is to be shown of its answer."""
        cache = self._cache
        scope = scope_of(snapshot, multiline=self.settings.multiline == "auto")
        answer, scores = await self._ask(snapshot, scope, grown)
        cleaned = cleaning.clean(answer, snapshot) or cleaning.Cleaned("", 0)
        scores = scores.from_offset(cleaned.skipped)
        cache.store(snapshot, cleaned.text, cleaned.replaced, scores)

    async def _beyond(
        self, snapshot: Snapshot, trigger: Trigger, selected: SelectedText
    ) -> CompletionResult:
        """Complete as if the suggest widget's item stood there, and hand out both together."""
        text = snapshot.text[: selected.start] + selected.text + snapshot.text[selected.end :]
        cursor = selected.start + len(selected.text)
        inner = await self.complete(replace(snapshot, text=text, cursor=cursor), trigger)
        moved = selected.end - cursor
        return replace(
            inner,
            suggestions=tuple(
                replace(
                    one,
                    text=selected.text + one.text,
                    replace_start=selected.start,
                    replace_end=one.replace_end + moved,
                )
                for one in inner.suggestions
            ),
        )

    async def _ask(
        self, snapshot: Snapshot, scope: Scope, grown: Callable[[str], None]
    ) -> tuple[str, Scores]:
        """Return the cut answer of the engine and its scores, telling how it grows."""
        request = await self._request(snapshot, scope)
        self.asked += 1
        text, finish, scorer, speed = "", None, Scorer(), Speed()
        async with aclosing(self._engine.stream(request)) as stream:
            async for chunk in stream:
                speed.take(chunk)
                text += chunk.text
                scorer.add(chunk.text, (token.logprob for token in chunk.logprobs))
                finish = chunk.finish
                grown(text)
                looping = without_loops(text, snapshot.line_before) != text
                if looping or cut(text, scope, ended=False).done:
                    break  # what follows would be cut off: closing the stream stops the engine
        self._tokens_per_second = speed.tokens_per_second
        limited = finish is FinishReason.LENGTH
        shown = cut(text, scope, ended=True, limited=limited).text
        return shown, scorer.scores()

    async def _request(self, snapshot: Snapshot, scope: Scope) -> GenerationRequest:
        model = await self._known_model()
        # Small models have small windows: leave at least half of it to the prompt.
        room = min(self.settings.max_new_tokens, model.context_window // 2)
        limit = min(self.settings.max_prompt_tokens, model.context_window - room)
        prompt = await asyncio.to_thread(
            prompting.build,
            snapshot,
            model.family,
            model.encode,
            limit,
            model.form if self.settings.form == "auto" else self.settings.form,
        )
        return GenerationRequest(
            prompt=prompt.ids,
            max_new_tokens=room if scope.extent is Extent.BLOCK else max(1, room // 2),
            stop_ids=model.family.stop_ids,
            sampling=Sampling(temperature=self.settings.temperature),
            priority=Priority.COMPLETION,
            logprobs=0,
            adapter=self.settings.adapter,
        )

    async def _known_model(self) -> _Model:
        if self._model is None:
            tokenizer, info = await self._engine.tokenizer(), await self._engine.info()
            form = next((f for f in prompting.FORMS if f == info.fim_form), prompting.DEFAULT_FORM)
            encode = remembering(tokenizer.encode)
            self._model = _Model(encode, detect(tokenizer), info.context_window, form)
        return self._model


def _result(snapshot: Snapshot, found: Cached, model_ms: float, least: float) -> CompletionResult:
    if not found.text:
        return CompletionResult((), found.source, _NOTHING, model_ms)
    if found.confidence < least:
        why = f"the model is not sure enough ({found.confidence:.0%}, {least:.0%} wanted)"
        return CompletionResult((), found.source, why, model_ms)
    end = snapshot.cursor + found.replaced
    name = uuid.uuid4().hex
    one = Suggestion(name, found.text, snapshot.cursor, end, found.source, found.confidence)
    return CompletionResult((one,), found.source, str(found.source), model_ms)
