"""The language server: what one editor window has of state, and what its handlers call.

Never imports torch: the model is held by a process of its own (see `engine.client`).
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, cast

from lsprotocol import types
from pygls.exceptions import FeatureRequestError
from pygls.lsp.server import LanguageServer

from chat.asker import Asker, OnPartial
from chat.conversations import Conversations
from chat.store import ConversationStore
from engine.api import Engine
from engine.client.endpoint import Endpoint
from engine.client.http import HttpEngine
from engine.client.managed import DEFAULT_COMMAND, ManagedEngine
from engine.errors import EngineUnavailableError, StarcoderError
from fim.completer import Completer
from fim.snapshot import Cell, CompletionResult, SelectedText, Snapshot, Source, Trigger
from lsp_server import __version__
from lsp_server.session.debounce import AdaptiveDebounce
from lsp_server.session.documents import Document, DocumentWorkspace
from lsp_server.session.exclusions import Exclusions, unsuitable_text
from lsp_server.session.latest_wins import LatestWins
from lsp_server.session.projects import Projects
from lsp_server.session.protocol import FAILED, StarcoderProtocol
from lsp_server.session.statistics import Statistics
from lsp_server.session.status import State, StatusReporter
from lsp_server.settings import Settings, resolve

log = logging.getLogger(__name__)

EngineFactory = Callable[[Settings], Engine]

_CHAT_RENDERER = "chat.rendering:render"


def engine_of(settings: Settings) -> Engine:
    """Return the engine that settings mean: one by URL, or the shared one of this machine."""
    if settings.engine_url is not None:
        endpoint = Endpoint(settings.engine_url, token=settings.engine_token)
        tokenizer = None if settings.tokenizer is None else Path(settings.tokenizer).expanduser()
        return HttpEngine(endpoint, tokenizer)
    return ManagedEngine(settings.engine, (*DEFAULT_COMMAND, "--chat-renderer", _CHAT_RENDERER))


def _exclusions(settings: Settings) -> Exclusions:
    return Exclusions(settings.exclude, gitignore=settings.respect_gitignore)


class StarcoderServer(LanguageServer):
    """One client's server."""

    def __init__(
        self,
        make_engine: EngineFactory = engine_of,
        protocol_cls: type[StarcoderProtocol] = StarcoderProtocol,
    ) -> None:
        super().__init__(
            "starcoder-lsp",
            __version__,
            protocol_cls=protocol_cls,
            notebook_document_sync=types.NotebookDocumentSyncOptions(
                notebook_selector=[
                    types.NotebookDocumentFilterWithCells(
                        cells=[types.NotebookCellLanguage(language="python")]
                    )
                ]
            ),
        )
        self._make_engine = make_engine
        self._tasks: set[asyncio.Task[Any]] = set()
        self._latest = LatestWins()
        self.settings = Settings()
        self.status = StatusReporter(self)
        self.engine = make_engine(self.settings)
        self._exclusions = _exclusions(self.settings)
        self._projects = self._new_projects()
        self.completer = self._new_completer()
        self.conversations = Conversations(ConversationStore())
        self._statistics = Statistics(self.spawn)
        self._debounce = AdaptiveDebounce()

    # Documents.

    def use_own_documents(self) -> None:
        """Put our documents in place of pygls', at `initialize`, before any is open."""
        old = self.workspace
        self.protocol._workspace = DocumentWorkspace(
            old.root_uri,
            self._text_document_sync_kind,
            list(old.folders.values()),
            old.position_encoding,
        )

    def document(self, uri: str) -> Document:
        """Return an open document."""
        return cast(Document, self.workspace.get_text_document(uri))

    # Settings.

    def apply_settings(self, sent: Any) -> None:
        """Take on what the client sent; a running engine is kept unless it is another one now."""
        resolved = resolve(sent)
        self.status.reset_notifications()
        if resolved.problems:
            self.status.notify_once("\n".join(resolved.problems), types.MessageType.Warning)
        before, self.settings = self.settings, resolved.settings
        logging.getLogger().setLevel(self.settings.log_level.upper())
        self._exclusions = _exclusions(self.settings)
        if self.settings.exclude != before.exclude:
            self._projects.stop()
            self._projects = self._new_projects()
        if not self.settings.same_engine(before):
            old, self.engine = self.engine, self._make_engine(self.settings)
            self.spawn(old.aclose())
            self.status.update(tokens_per_second=0.0)
            self.completer = self._new_completer()
            self.spawn(self.bring_up())
        elif self.settings.fim != before.fim:
            self.completer = self._new_completer()
        if self.settings.enabled != before.enabled:
            state = State.READY if self.settings.enabled else State.DISABLED
            self.status.update(state=state, why="" if self.settings.enabled else "switched off")

    def _new_completer(self) -> Completer:
        return Completer(
            self.engine, self.settings.fim, lambda one: self._projects.add_project_context(one)
        )

    def _new_projects(self) -> Projects:
        exclusions = self._exclusions
        return Projects(
            lambda: self.workspace.folders or [self.workspace.root_uri or ""],
            lambda: cast("list[Document]", list(self.workspace.text_documents.values())),
            exclusions.by_pattern,
        )

    # The engine.

    async def bring_up(self) -> None:
        """Start or find the engine, telling the user how it goes."""
        engine = self.engine
        following = asyncio.create_task(self.status.follow(engine))
        try:
            info = await engine.info()
        except StarcoderError as error:
            self._failed(error)
            return
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        if engine is self.engine:
            self._statistics.model = info.model
            self.status.update(
                state=State.READY if self.settings.enabled else State.DISABLED,
                message="demo model: suggestions are poor by nature" if info.is_demo else "",
                model=info.model,
                device=info.device,
                demo=info.is_demo,
            )

    def _failed(self, error: StarcoderError) -> None:
        self.status.update(state=State.ERROR, message=error.user_message, why="the engine failed")
        self.status.notify_once(error.user_message, types.MessageType.Error)
        if isinstance(error, EngineUnavailableError):
            self.completer.reset()

    # Completions.

    async def complete(
        self, uri: str, position: types.Position, trigger: Trigger, selected: SelectedText | None
    ) -> tuple[Snapshot, CompletionResult]:
        """Return suggestions for a position; an error is told to the user and gives none."""
        document = self.document(uri)
        offset = document.offset_at_position(position)
        snapshot = Snapshot(
            uri,
            document.language_id or "",
            document.source,
            offset,
            document.version,
            self._cells_before(uri),
        )
        started = time.perf_counter()
        if trigger is Trigger.AUTOMATIC:
            self._debounce.on_key(started * 1000)
        result = await self._latest.run(uri, self._completed(snapshot, trigger, selected))
        if result is None:
            return snapshot, CompletionResult((), Source.NONE, "superseded by a newer request")
        elapsed = (time.perf_counter() - started) * 1000
        if result.source is Source.MODEL:
            self._debounce.on_answer(result.model_ms)
        changes: dict[str, Any] = {
            "why": result.explanation,
            "source": str(result.source),
            "asked": self.completer.num_requests,
            "suggested": bool(result.suggestions),
        }
        if result.suggestions:
            changes |= {"last_at": time.time(), "last_ms": elapsed}
        if result.tokens_per_second:
            changes["tokens_per_second"] = result.tokens_per_second
        if self.status.status.state is State.BUSY:
            changes["state"] = State.READY
        self.status.update(**changes)
        if self.settings.statistics:
            self._statistics.shown(snapshot, result)
        return snapshot, result

    def _cells_before(self, uri: str) -> tuple[Cell, ...]:
        """Return the cells of a notebook that stand before one of them."""
        notebook = self.workspace.get_notebook_document(cell_uri=uri)
        found: list[Cell] = []
        for cell in notebook.cells if notebook is not None else ():
            if cell.document == uri:
                return tuple(found)
            text = self._text_of(cell.document)
            if text is not None and text.strip():
                code = cell.kind == types.NotebookCellKind.Code
                found.append(Cell("code" if code else "text", text))
        return ()

    def accepted(self, suggestion_id: str, part: str) -> None:
        """Take note that a suggestion was accepted: all of it, a word or a line."""
        if self.settings.statistics:
            self._statistics.accepted(suggestion_id, part, self._text_of)

    def _text_of(self, uri: str) -> str | None:
        open_ = uri in self.workspace.text_documents
        return self.document(uri).source if open_ else None

    async def _completed(
        self, snapshot: Snapshot, trigger: Trigger, selected: SelectedText | None
    ) -> CompletionResult:
        if reason := await self._reason_for_silence(snapshot, trigger):
            return CompletionResult((), Source.NONE, reason)
        known = selected is None and not self.completer.needs_model(snapshot)
        if trigger is Trigger.AUTOMATIC and not known:
            await asyncio.sleep(self._pause(snapshot) / 1000)
        try:
            result = await self.completer.complete(snapshot, trigger, selected)
        except StarcoderError as error:
            self._failed(error)
            return CompletionResult((), Source.NONE, error.user_message)
        if self.status.status.state is State.ERROR:
            self.spawn(self.bring_up())  # it works again: say what it is now
        return result

    def _pause(self, snapshot: Snapshot) -> float:
        """Return how long to wait before the model is asked, in milliseconds."""
        if not snapshot.line_before.strip():
            return 0.0  # on a new line there is nothing to wait for
        set_by_user = self.settings.debounce_ms
        return self._debounce.delay_ms() if set_by_user is None else set_by_user

    async def _reason_for_silence(self, snapshot: Snapshot, trigger: Trigger) -> str | None:
        if not self.settings.enabled:
            return "switched off"
        disabled = snapshot.language_id in self.settings.disabled_languages
        if disabled and trigger is Trigger.AUTOMATIC:
            return f"switched off for {snapshot.language_id}"
        excluded = self._exclusions.by_pattern(snapshot.uri) or unsuitable_text(snapshot.text)
        if excluded is None and trigger is Trigger.AUTOMATIC:
            excluded = await self._exclusions.by_git(snapshot.uri)
        return excluded

    def closed(self, uri: str) -> None:
        """Stop working on a document that was closed."""
        self._latest.cancel(uri)
        self._exclusions.forget(uri)
        self._projects.closed(uri)

    # Chat.

    def asker(self, on_partial: OnPartial = lambda piece, begins: None) -> Asker:
        """Return what asks the model that is held now."""
        return Asker(self.engine, self.settings.chat, on_partial)

    # Tasks and introspection.

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run something in the background; its failure is logged."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a background task failed", exc_info=error)

    async def close(self) -> None:
        """End background tasks and connections; the engine process lives on for others."""
        for task in tuple(self._tasks):
            task.cancel()
        self._projects.stop()
        await self.engine.aclose()

    def report_server_error(self, error: Exception, source: Any) -> None:
        """Tell the user of a failed notification, which has no answer, without its details."""
        if source is not FeatureRequestError:
            log.error("a notification failed", exc_info=error)
            self.status.notify_once(FAILED, types.MessageType.Error)

    def heavy_modules(self) -> list[str]:
        """Return those modules that must not be in this process, and are."""
        return sorted({"torch", "transformers", "accelerate"} & set(sys.modules))
