"""Completion requests of a session: whether and when to ask the model, and what to report."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from engine.errors import StarcoderError
from fim.completer import Completer
from fim.snapshot import CompletionResult, SelectedText, Snapshot, Source, Trigger
from lsp_server.session.debounce import AdaptiveDebounce
from lsp_server.session.diagnostics import Diagnostics
from lsp_server.session.engine_choice import completion_engine
from lsp_server.session.engine_session import EngineSession
from lsp_server.session.exclusions import Exclusions, unsuitable_text
from lsp_server.session.latest_wins import LatestWins
from lsp_server.session.projects import Projects
from lsp_server.session.statistics import Statistics
from lsp_server.session.status import StatusReporter
from lsp_server.session.uris import canonical
from lsp_server.session.workspace_documents import WorkspaceDocuments
from lsp_server.settings import Settings


class CompletionSession:
    """Answers the completion requests of one editor window."""

    def __init__(
        self,
        settings: Settings,
        engine: EngineSession,
        documents: WorkspaceDocuments,
        status: StatusReporter,
        statistics: Statistics,
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._documents = documents
        self._status = status
        self._statistics = statistics
        self._requests = LatestWins()
        self._debounce = AdaptiveDebounce()
        self.diagnostics = Diagnostics()
        self._exclusions = self._new_exclusions()
        self._projects = self._new_projects()
        self._completer = self._new_completer()

    def apply_settings(self, settings: Settings) -> None:
        """Use changed settings; call this after the engine session has applied them.

        Cached suggestions are kept unless the engine or the way of completing changes.
        """
        before, self._settings = self._settings, settings
        if _rules(settings) != _rules(before):
            self._exclusions = self._new_exclusions()
            self._projects.stop()
            self._projects = self._new_projects()
        same_engine = completion_engine(settings) == completion_engine(before)
        if settings.fim != before.fim or not same_engine:
            self._completer = self._new_completer()

    async def complete(
        self, snapshot: Snapshot, trigger: Trigger, selected: SelectedText | None = None
    ) -> CompletionResult:
        """Return suggestions; after an error, none, and the error is shown to the user."""
        started = time.perf_counter()
        if trigger is Trigger.AUTOMATIC:
            self._debounce.on_key(started * 1000)
        result = await self._requests.run(snapshot.uri, self._complete(snapshot, trigger, selected))
        if result is None:
            return CompletionResult((), Source.NONE, "superseded by a newer request")
        elapsed_ms = (time.perf_counter() - started) * 1000
        if result.source is Source.MODEL:
            self._debounce.on_answer(result.model_ms)
        self._status.show_completion(result, elapsed_ms, self._completer.model.num_requests)
        if self._settings.statistics:
            self._statistics.record_shown(snapshot, result)
        return result

    async def _complete(
        self, snapshot: Snapshot, trigger: Trigger, selected: SelectedText | None
    ) -> CompletionResult:
        if reason := await self._reason_for_silence(snapshot, trigger):
            return CompletionResult((), Source.NONE, reason)
        needs_model = selected is not None or self._completer.needs_model(snapshot)
        by_user = trigger is not Trigger.AUTOMATIC
        if needs_model and not by_user and (reason := self._engine.outage):
            return CompletionResult((), Source.NONE, reason)
        if trigger is Trigger.AUTOMATIC and needs_model:
            await asyncio.sleep(self._delay_ms(snapshot) / 1000)
        if needs_model:
            self._engine.report_request()
        engine = self._engine.current
        try:
            result = await self._completer.complete(snapshot, trigger, selected)
        except StarcoderError as error:
            if engine is self._engine.current:  # the settings name no other one meanwhile
                self._engine.report_failure(error, by_user=by_user)
            return CompletionResult((), Source.NONE, error.user_message)
        self._engine.report_success()
        return result

    async def _reason_for_silence(self, snapshot: Snapshot, trigger: Trigger) -> str | None:
        """Return why nothing may be suggested, None if something may."""
        if not self._settings.enabled:
            return "switched off"
        is_disabled = snapshot.language_id in self._settings.disabled_languages
        if is_disabled and trigger is Trigger.AUTOMATIC:
            return f"switched off for {snapshot.language_id}"
        if reason := unsuitable_text(snapshot.text):
            return reason
        uri = self._documents.container_uri(snapshot.uri)
        return await self._exclusions.reason(uri, checks_git=trigger is Trigger.AUTOMATIC)

    def _delay_ms(self, snapshot: Snapshot) -> float:
        """Return how long to wait before the model is asked."""
        if not snapshot.line_before.strip():
            return 0.0  # at the start of a line the user usually pauses
        fixed_delay_ms = self._settings.debounce_ms
        return self._debounce.delay_ms() if fixed_delay_ms is None else fixed_delay_ms

    def record_acceptance(self, suggestion_id: str, part: str) -> None:
        """Record that a suggestion was accepted: all of it, a word or a line."""
        if self._settings.statistics:
            self._statistics.record_accepted(suggestion_id, part, self._documents.open_text)

    def close_document(self, uri: str) -> None:
        """Cancel the request of a closed document and forget what is known about its file."""
        uri = canonical(uri)
        self._requests.cancel(uri)
        self._exclusions.forget(uri)
        self._projects.close_document(uri)
        self.diagnostics.forget(uri)

    def folders_changed(self) -> None:
        """Stop reading folders that left the workspace."""
        self._projects.folders_changed()

    def forget_model(self) -> None:
        """Drop cached suggestions; the next engine may hold another model."""
        self._completer.reset()

    def stop(self) -> None:
        """Stop reading the files of the projects."""
        self._projects.stop()

    def _new_completer(self) -> Completer:
        return Completer(
            self._engine.current,
            self._settings.fim,
            self._add_project_context,
        )

    async def _add_project_context(
        self, snapshot: Snapshot, *, excerpts: bool, passages: bool
    ) -> Snapshot:
        with_problems = replace(snapshot, problems=self.diagnostics.of(snapshot.uri))
        return await self._projects.add_project_context(
            with_problems, excerpts=excerpts, passages=passages
        )

    def _new_projects(self) -> Projects:
        return Projects(
            self._documents.folder_uris,
            self._documents.open_documents,
            self._exclusions,
            use_git=self._settings.git,
        )

    def _new_exclusions(self) -> Exclusions:
        return Exclusions(
            self._settings.exclude,
            gitignore=self._settings.respect_gitignore,
            use_git=self._settings.git,
            folder_uris=self._documents.folder_uris,
        )


def _rules(settings: Settings) -> object:
    """Return the settings that decide which files may be read, and what is kept of them."""
    return settings.exclude, settings.respect_gitignore, settings.git, settings.project_memory
