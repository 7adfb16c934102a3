"""Completes code: looks up or generates candidates for a snapshot, postprocesses and ranks them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from functools import partial

from engine.api import Engine, Priority
from fim.context.provider import ContextProvider
from fim.memory.candidates import memory_candidates
from fim.memory.second_opinion import merged, more_probable
from fim.postprocess.candidate import Candidate, make_candidate, rank, show_if_confident
from fim.postprocess.confidence import POLICIES
from fim.postprocess.truncate import Scope, Truncator, scope_of
from fim.request.backoff import WordBackoff
from fim.request.cache import SuggestionCache
from fim.request.in_flight import InFlightRequest, OnText
from fim.request.model import FimModel, RequestOptions
from fim.request.prefetch import snapshot_after_accept
from fim.settings import FimSettings
from fim.snapshot import CompletionResult, SelectedText, Snapshot, Source, Suggestion, Trigger

_IN_WORD = "the cursor is in the middle of a word"
_PAUSED = "the model is not sure of this word"

_PREFETCH_DELAY_S = 0.05
"""Seconds between a suggestion and its prefetch, so that the suggestion is sent and shown first."""


@dataclass(frozen=True, slots=True)
class _Lookup:
    """The results that are available for a snapshot without a new request to the engine."""

    cached: Candidate | None
    joinable: tuple[InFlightRequest, str] | None
    """A request in flight, and the text typed since it started; None if `cached` is set."""

    @property
    def is_miss(self) -> bool:
        return self.cached is None and self.joinable is None


@dataclass(frozen=True, slots=True)
class _Previous:
    """The last candidate of a document."""

    line_before: str
    text: str


class Completer:
    """Code completion with one engine; safe for many tasks of one event loop."""

    def __init__(
        self,
        engine: Engine,
        settings: FimSettings | None = None,
        context_provider: ContextProvider | None = None,
    ) -> None:
        """Create a completer. `context_provider` is called for requests that reach the model."""
        self.settings = settings or FimSettings()
        self.model = FimModel(engine, self.settings)
        self._context_provider = context_provider
        self._cache = SuggestionCache(self.settings.cache_size, self.settings.cache_seconds)
        self._backoff = WordBackoff(self.settings.max_misses)
        self._in_flight: list[InFlightRequest] = []
        self._previous: dict[str, _Previous] = {}
        """The last candidate of each document, by URI."""

    def reset(self) -> None:
        """Drop cached suggestions and requests in flight, because the engine has another model."""
        self.model.reset()
        self._cache = SuggestionCache(self.settings.cache_size, self.settings.cache_seconds)
        for request in self._in_flight:
            request.cancel()
        self._in_flight = []

    async def complete(
        self,
        snapshot: Snapshot,
        trigger: Trigger = Trigger.AUTOMATIC,
        selected: SelectedText | None = None,
    ) -> CompletionResult:
        """Return suggestions at the cursor, at most one for an automatic request.

        For a request that the user makes explicitly there may be several, the most probable first.
        Raises StarcoderError. Cancelling the task stops the engine.
        """
        if selected is None:
            return await self._complete(snapshot, trigger)
        result = await self._complete(selected.applied_to(snapshot), trigger)
        suggestions = tuple(map(selected.prepended_to, result.suggestions))
        return replace(result, suggestions=suggestions)

    def needs_model(self, snapshot: Snapshot) -> bool:
        """Return whether a completion would send a new request to the engine."""
        return self._look_up(snapshot).is_miss

    async def idle(self) -> None:
        """Wait until no request is in flight, prefetches included."""
        while running := self._running():
            await asyncio.gather(*(request.wait_until_done() for request in running))

    async def _complete(self, snapshot: Snapshot, trigger: Trigger) -> CompletionResult:
        is_automatic = trigger is Trigger.AUTOMATIC
        if is_automatic and snapshot.line_after[:1].isalnum():
            return CompletionResult((), Source.NONE, _IN_WORD)
        lookup = self._look_up(snapshot)
        if is_automatic and lookup.is_miss and self._backoff.is_active(snapshot):
            return CompletionResult((), Source.NONE, _PAUSED)
        started = asyncio.get_running_loop().time()
        candidate = lookup.cached
        if candidate is None:
            candidate = await self._generate(snapshot, lookup.joinable)
        elapsed_ms = (asyncio.get_running_loop().time() - started) * 1000
        is_cached = lookup.cached is not None
        if is_automatic:
            result = await self._show(snapshot, candidate)
        else:
            alternatives = await self._alternatives(snapshot, candidate)
            passages = await self._memory_candidates(snapshot)
            result = rank(snapshot, merged([candidate, *alternatives], passages))
            if is_cached and self.settings.candidates > 1:  # it waited for the model nevertheless
                is_cached = False
                elapsed_ms = (asyncio.get_running_loop().time() - started) * 1000
                result = replace(result, source=Source.MODEL, explanation=str(Source.MODEL))
        # There is nothing to prefetch after a partial line: the user completes the line first.
        suggestion = result.suggestions[0] if result.suggestions else None
        if suggestion and (not is_automatic or suggestion.text == candidate.text):
            self._prefetch(snapshot, suggestion)
        if is_cached:
            return result
        speed = self.model.tokens_per_second
        return replace(result, model_ms=elapsed_ms, tokens_per_second=speed)

    def _look_up(self, snapshot: Snapshot) -> _Lookup:
        cached = self._cache.find(snapshot)
        return _Lookup(cached, None if cached is not None else self._joinable(snapshot))

    def _joinable(self, snapshot: Snapshot) -> tuple[InFlightRequest, str] | None:
        if not self.settings.join_in_flight:
            return None
        for request in self._running():
            if (typed := request.typed_since(snapshot)) is not None:
                return request, typed
        return None

    async def _generate(
        self, snapshot: Snapshot, joinable: tuple[InFlightRequest, str] | None
    ) -> Candidate:
        """Join a request in flight, or start one, and return its candidate.

        A request that turns out not to agree with what the user typed, or that was cancelled, is
        replaced by another one.
        """
        while True:
            request, typed = joinable or (self._start(snapshot), "")
            candidate = await request.candidate_after(typed)
            if candidate is not None:
                return replace(candidate, source=Source.JOINED if typed else Source.MODEL)
            joinable = self._joinable(snapshot)

    def _start(self, snapshot: Snapshot) -> InFlightRequest:
        """Start a request, and cancel the unused ones for the same document."""
        self._in_flight = self._running()
        for request in self._in_flight:
            if request.base.uri == snapshot.uri:
                request.cancel_if_unused()  # it would only slow the new request down
        options = RequestOptions(draft=self._draft(snapshot))
        request = InFlightRequest(snapshot, partial(self._generate_and_store, snapshot, options))
        self._in_flight.append(request)
        return request

    async def _generate_and_store(
        self, snapshot: Snapshot, options: RequestOptions, on_text: OnText
    ) -> Candidate:
        candidate = await self._generate_candidate(snapshot, options, on_text)
        self._cache.store(snapshot, candidate)
        if options.priority is not Priority.PREFETCH:  # a prefetch is not for the user's line
            self._previous[snapshot.uri] = _Previous(snapshot.line_before, candidate.text)
        return candidate

    async def _generate_candidate(
        self, snapshot: Snapshot, options: RequestOptions, on_text: OnText
    ) -> Candidate:
        snapshot = await self._with_context(snapshot)
        # Parsing takes long for some texts, so threads do it.
        truncator = await asyncio.to_thread(self._truncator, snapshot)
        output = await self.model.generate(snapshot, truncator, options, on_text)
        candidate = await asyncio.to_thread(
            make_candidate, output.text, output.scores, snapshot, is_complete=output.is_complete
        )
        if options.first_token is None and await self._may_override():
            return await asyncio.to_thread(more_probable, candidate, snapshot, truncator.scope)
        return candidate

    async def _with_context(self, snapshot: Snapshot) -> Snapshot:
        """Return the snapshot with the text of the project that the settings ask for."""
        if self._context_provider is None or snapshot.passages or snapshot.excerpts:
            return snapshot
        with_context = await self._context_provider(
            snapshot,
            excerpts=await self.model.uses_related_files(),
            passages=self.settings.project_memory,
        )
        return replace(
            with_context,
            edits=with_context.edits if self.settings.recent_edits else (),
            problems=with_context.problems if self.settings.diagnostics else (),
        )

    async def _may_override(self) -> bool:
        """Return whether a text of the project may be suggested instead of the model's."""
        setting = self.settings.memory_override
        return setting == "always" or (setting == "auto" and not await self.model.uses_passages())

    async def _memory_candidates(self, snapshot: Snapshot) -> list[Candidate]:
        """Return candidates from the project's text for an explicit request."""
        count = self.settings.memory_candidates if self.settings.candidates > 1 else 0
        if not count:
            return []
        snapshot = await self._with_context(snapshot)
        scope = self._scope(snapshot)
        results = await asyncio.to_thread(memory_candidates, snapshot, scope, count)
        return [result.candidate for result in results]

    def _truncator(self, snapshot: Snapshot) -> Truncator:
        return Truncator(snapshot, self._scope(snapshot))

    def _scope(self, snapshot: Snapshot) -> Scope:
        return scope_of(snapshot, multiline=self.settings.multiline == "auto")

    async def _show(self, snapshot: Snapshot, candidate: Candidate) -> CompletionResult:
        """Return the confident part of a candidate, and record whether there is one."""
        result = await asyncio.to_thread(
            show_if_confident,
            snapshot,
            candidate,
            POLICIES[self.settings.eagerness],
            allow_partial_line=self.settings.show_partial,
        )
        if candidate.source in (Source.MODEL, Source.JOINED):
            self._backoff.record(snapshot, shown=bool(result.suggestions))
        return result

    async def _alternatives(self, snapshot: Snapshot, best: Candidate) -> list[Candidate]:
        """Return candidates that begin with other tokens than the most probable one."""
        count = self.settings.candidates - 1
        if count < 1:
            return []
        snapshot = await self._with_context(snapshot)
        tokens = await self.model.first_token_candidates(snapshot, count + 1)
        candidates = await asyncio.gather(
            *(
                self._generate_candidate(
                    snapshot, RequestOptions(first_token=token_id), on_text=lambda _: None
                )
                for token_id, _ in tokens
            )
        )
        by_text = {
            candidate.text: replace(candidate, scores=candidate.scores.with_first_token(logprob))
            for candidate, (_, logprob) in zip(candidates, tokens, strict=True)
            if candidate.text and candidate.text != best.text
        }
        return list(by_text.values())[:count]

    def _prefetch(self, snapshot: Snapshot, shown: Suggestion) -> None:
        """Prefetch the line after a suggestion, unless a request is in flight."""
        if not self.settings.prefetch:
            return
        next_line = snapshot_after_accept(snapshot, shown)
        if next_line is None or not self.needs_model(next_line) or self._running():
            return
        self._in_flight = [InFlightRequest(next_line, partial(self._prefetch_line, next_line))]

    async def _prefetch_line(self, next_line: Snapshot, on_text: OnText) -> Candidate:
        await asyncio.sleep(_PREFETCH_DELAY_S)
        options = RequestOptions(priority=Priority.PREFETCH)
        return await self._generate_and_store(next_line, options, on_text)

    def _draft(self, snapshot: Snapshot) -> str:
        """Return the rest of the previous candidate if it is for the same line."""
        previous = self._previous.get(snapshot.uri)
        line = snapshot.line_before
        if previous is None or not self.settings.draft_from_previous:
            return ""
        if not line.startswith(previous.line_before):
            return ""
        return previous.text[len(line) - len(previous.line_before) :]

    def _running(self) -> list[InFlightRequest]:
        return [request for request in self._in_flight if not request.done]
