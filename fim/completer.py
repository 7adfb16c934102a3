"""From a snapshot to suggestions: the one place where the steps of a completion come together."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial

from engine.api import Engine, Priority
from fim.postprocess import clean as cleaning
from fim.postprocess.clean import repair
from fim.postprocess.confidence import POLICIES, Policy, sure_part
from fim.postprocess.truncate import Truncator, scope_of
from fim.request.backoff import WordBackoff
from fim.request.cache import Cached, SuggestionCache
from fim.request.in_flight import InFlightRequest
from fim.request.model import FimModel, ModelOutput, RequestOptions
from fim.request.prefetch import snapshot_after_accept
from fim.settings import FimSettings
from fim.snapshot import (
    CompletionResult,
    SelectedText,
    Snapshot,
    Source,
    Suggestion,
    Trigger,
)

__all__ = ["Completer", "FimSettings"]

_IN_A_WORD = "the cursor is in the middle of a word"
_IN_VAIN = "the model is not sure of this word"
_NOTHING = "the model has nothing to add here"

_PREFETCH_AFTER_S = 0.05
"""Time for the suggestion itself to be sent and shown before work on what follows it."""

ContextProvider = Callable[[Snapshot], Awaitable[Snapshot]]
"""Returns a snapshot with its place in a project and with parts of other files."""


@dataclass(frozen=True, slots=True)
class _Last:
    """The line that a document's last answer would have made."""

    line: str
    text: str


class Completer:
    """Completes with one engine. Safe to call from many tasks of one event loop."""

    def __init__(
        self,
        engine: Engine,
        settings: FimSettings | None = None,
        context_provider: ContextProvider | None = None,
    ) -> None:
        """`context_provider` is called only for requests that reach the model."""
        self.settings = settings or FimSettings()
        self._context_provider = context_provider
        self.model = FimModel(engine, self.settings)
        self._cache = SuggestionCache(self.settings.cache_size, self.settings.cache_seconds)
        self._restraint = WordBackoff(self.settings.max_misses)
        self._flights: list[InFlightRequest] = []
        self._last: dict[str, _Last] = {}

    @property
    def num_requests(self) -> int:
        """How often the engine was asked so far."""
        return self.model.num_requests

    def reset(self) -> None:
        """RequestOptions the engine anew what it holds: it is another one now."""
        self.model.forget()
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

        One, or where they are asked for by hand several, the likeliest first. Raises
        StarcoderError.
        """
        if selected is not None:
            return await self._beyond(snapshot, trigger, selected)
        unasked = trigger is Trigger.AUTOMATIC
        if unasked and snapshot.line_after[:1].isalnum():
            return CompletionResult((), Source.NONE, _IN_A_WORD)
        if unasked and self._restraint.holds(snapshot) and self.needs_model(snapshot):
            return CompletionResult((), Source.NONE, _IN_VAIN)
        started = asyncio.get_running_loop().time()
        found = await self._find(snapshot)
        asked_anew = found.source in (Source.MODEL, Source.JOINED)
        elapsed = (asyncio.get_running_loop().time() - started) * 1000 if asked_anew else 0.0
        if unasked:
            policy = POLICIES[self.settings.eagerness]
            result = _shown(snapshot, found, policy, partial=self.settings.show_partial)
            if asked_anew:
                self._restraint.note(snapshot, shown=bool(result.suggestions))
        else:
            result = _ranked(snapshot, [found, *await self._others(snapshot, found)])
        if result.suggestions and (not unasked or result.suggestions[0].text == found.text):
            self._prefetch(snapshot, result.suggestions[0])  # behind a mere beginning there is none
        speed = self.model.tokens_per_second if asked_anew else 0.0
        return replace(result, model_ms=elapsed, tokens_per_second=speed)

    def needs_model(self, snapshot: Snapshot) -> bool:
        """Whether a completion here would send a new request to the engine."""
        return self._cache.find(snapshot) is None and self._joinable(snapshot) is None

    async def _find(self, snapshot: Snapshot) -> Cached:
        """Return the answer for a place: remembered, on its way, or from the model."""
        if (found := self._cache.find(snapshot)) is not None:
            return found
        while True:
            flight, typed = self._flight_for(snapshot)
            if await flight.wait(typed) and (found := self._cache.find(snapshot)) is not None:
                return replace(found, source=Source.JOINED if typed else Source.MODEL)

    def _joinable(self, snapshot: Snapshot) -> tuple[InFlightRequest, str] | None:
        for flight in self._flights:
            if not flight.over and (typed := flight.typed_since(snapshot)) is not None:
                return flight, typed
        return None

    def _flight_for(self, snapshot: Snapshot) -> tuple[InFlightRequest, str]:
        """Return a flight that may answer for a place, a new one if need be, and what was typed."""
        self._flights = [flight for flight in self._flights if not flight.over]
        joined = self._joinable(snapshot)
        if joined is None:
            for flight in self._flights:
                if flight.base.uri == snapshot.uri:
                    flight.stop_if_alone()  # it would only be in the way of this one
            ask = RequestOptions(draft=self._draft(snapshot))
            joined = InFlightRequest(snapshot, partial(self._fill, snapshot, ask)), ""
            self._flights.append(joined[0])
        return joined

    async def _fill(
        self, snapshot: Snapshot, ask: RequestOptions, on_text: Callable[[str], None]
    ) -> None:
        """RequestOptions the engine and remember what is to be shown of its answer."""
        cache = self._cache
        found, finished = await self._write(snapshot, ask, on_text)
        cache.store(snapshot, found.text, found.replaced, found.scores, finished=finished)
        if ask.priority is not Priority.PREFETCH:  # that is of another line than the user's
            self._last[snapshot.uri] = _Last(snapshot.line_before, found.text)

    async def _write(
        self, snapshot: Snapshot, ask: RequestOptions, on_text: Callable[[str], None]
    ) -> tuple[Cached, bool]:
        """Return the engine's answer as it may be shown, and whether it is finished."""
        if self._context_provider is not None and await self.model.reads_others():
            snapshot = await self._context_provider(snapshot)
        scope = scope_of(snapshot, multiline=self.settings.multiline == "auto")
        answer = await self.model.write(snapshot, Truncator(snapshot, scope), ask, on_text)
        return _cleaned(answer, snapshot), answer.finished

    def _draft(self, snapshot: Snapshot) -> str:
        """Return what the answer may well be: what is left of the line suggested before."""
        last = self._last.get(snapshot.uri)
        line = snapshot.line_before
        if last is None or not self.settings.draft_from_previous or not line.startswith(last.line):
            return ""
        return last.text[len(line) - len(last.line) :]

    def _prefetch(self, snapshot: Snapshot, shown: Suggestion) -> None:
        """Make the line after a suggestion ready, if the engine has nothing else to do."""
        if not self.settings.prefetch:
            return
        then = snapshot_after_accept(snapshot, shown)
        if (
            then is None
            or not self.needs_model(then)
            or any(not flight.over for flight in self._flights)
        ):
            return
        self._flights.append(InFlightRequest(then, partial(self._make_ready, then)))

    async def _make_ready(self, then: Snapshot, on_text: Callable[[str], None]) -> None:
        await asyncio.sleep(_PREFETCH_AFTER_S)
        await self._fill(then, RequestOptions(priority=Priority.PREFETCH), on_text)

    async def _others(self, snapshot: Snapshot, best: Cached) -> list[Cached]:
        """Return answers that begin with another token than the likeliest."""
        wanted = self.settings.candidates - 1
        if wanted < 1:
            return []
        first_token_candidates = await self.model.first_token_candidates(snapshot, wanted + 1)
        made = await asyncio.gather(
            *(
                self._write(snapshot, RequestOptions(first=id_), _ignored)
                for id_, _ in first_token_candidates
            )
        )
        scored = [
            replace(found, scores=found.scores.begun_by(logprob))
            for (found, _), (_, logprob) in zip(made, first_token_candidates, strict=True)
        ]
        others = {found.text: found for found in scored if found.text and found.text != best.text}
        return list(others.values())[:wanted]

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


def _ignored(_text: str) -> None:
    """Nobody waits for how it grows."""


def _cleaned(answer: ModelOutput, snapshot: Snapshot) -> Cached:
    cleaned = cleaning.clean(answer.text, snapshot) or cleaning.Cleaned("", 0)
    scores = answer.scores.from_offset(cleaned.skipped) if cleaned.skipped else answer.scores
    if snapshot.line_ending != "\n":
        scores = scores.with_line_ends(answer.text[cleaned.skipped :], snapshot.line_ending)
    return Cached(cleaned.text, cleaned.replaced, Source.MODEL, scores)


def _shown(snapshot: Snapshot, found: Cached, policy: Policy, *, partial: bool) -> CompletionResult:
    """Return as much of an answer as is sure enough to be shown unasked."""
    if not found.text:
        return CompletionResult((), found.source, _NOTHING)
    text = sure_part(found.text, found.scores, policy, partial=partial)
    replaced = found.replaced
    if text != found.text:
        text, replaced = repair(text, snapshot)
    if len(text.strip()) < min(policy.shortest, len(found.text.strip())):
        why = f"the model is not sure enough ({found.confidence:.0%}, {policy.whole:.0%} wanted)"
        return CompletionResult((), found.source, why)
    one = _suggestion(snapshot, replace(found, text=text, replaced=replaced))
    return CompletionResult((one,), found.source, str(found.source))


def _ranked(snapshot: Snapshot, found: list[Cached]) -> CompletionResult:
    """Return all answers, the likeliest first."""
    source = found[0].source
    kept = sorted((one for one in found if one.text), key=lambda one: -one.confidence)
    if not kept:
        return CompletionResult((), source, _NOTHING)
    return CompletionResult(tuple(_suggestion(snapshot, one) for one in kept), source, str(source))


def _suggestion(snapshot: Snapshot, found: Cached) -> Suggestion:
    start = snapshot.cursor
    return Suggestion(
        uuid.uuid4().hex, found.text, start, start + found.replaced, found.source, found.confidence
    )
