"""The server object of one client: creates the session's parts and passes settings to them.

Never imports torch: the model runs in a process of its own (see `engine.client`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from lsprotocol import types
from pygls.exceptions import FeatureRequestError
from pygls.lsp.server import LanguageServer

from chat.running.code_runs import CodeRuns
from engine.errors import ConfigurationError
from lsp_server import __version__
from lsp_server.logs import set_log_level
from lsp_server.session.background_tasks import BackgroundTasks
from lsp_server.session.chat_engine import ChatEngineSession
from lsp_server.session.chat_session import ChatSession
from lsp_server.session.client_edits import ClientEdits
from lsp_server.session.client_settings import ClientSettings
from lsp_server.session.completions import CompletionSession
from lsp_server.session.consent import Consent
from lsp_server.session.documents import Document
from lsp_server.session.engine_choice import EngineFactory, create_engine
from lsp_server.session.engine_session import EngineSession
from lsp_server.session.params import strict_converter
from lsp_server.session.pygls_internals import INTERNAL_ERROR_MESSAGE, StarcoderProtocol
from lsp_server.session.settings_section import find_section
from lsp_server.session.statistics import Statistics
from lsp_server.session.status import StatusReporter
from lsp_server.session.tasks import TaskSession
from lsp_server.session.workspace_documents import WorkspaceDocuments
from lsp_server.settings import Settings, resolve

log = logging.getLogger(__name__)

_NOTEBOOKS = types.NotebookDocumentSyncOptions(
    notebook_selector=[
        types.NotebookDocumentFilterWithCells(cells=[types.NotebookCellLanguage(language="python")])
    ]
)


class StarcoderServer(LanguageServer):
    """The server of one client. Handlers call its parts; each part has one responsibility."""

    protocol: StarcoderProtocol

    def __init__(
        self,
        make_engine: EngineFactory = create_engine,
        *,
        is_shared: bool = False,
    ) -> None:
        """`is_shared` says that the process serves several clients, so it outlives each of them."""
        super().__init__(
            "starcoder-lsp",
            __version__,
            protocol_cls=StarcoderProtocol,
            converter_factory=strict_converter,
            notebook_document_sync=_NOTEBOOKS,
        )
        self.is_shared = is_shared
        self._event_loop: asyncio.AbstractEventLoop | None = None
        self.settings = Settings()
        self._options: Mapping[str, Any] = {}
        """The settings in `initializationOptions`."""
        self._members: Mapping[str, Any] | None = None
        """What the client sent for the current settings."""
        self.background = BackgroundTasks()
        self.client_settings = ClientSettings(self, self.change_settings)
        self.status = StatusReporter(self)
        self.documents = WorkspaceDocuments(lambda: self.workspace)
        self.edits = ClientEdits(self, self.documents)
        self.consent = Consent(self, self.settings)
        self.code_runs = CodeRuns(self.consent.may_run)
        self.engine = EngineSession(
            make_engine,
            self.settings,
            self.status,
            self.background,
            # A lambda, because the completion session needs the engine session and comes later.
            on_unavailable=lambda: self.completions.forget_model(),
        )
        self.completions = CompletionSession(
            self.settings,
            self.engine,
            self.documents,
            self.status,
            Statistics(self.background.spawn, lambda: self.status.current.model),
        )
        self.chat_engine = ChatEngineSession(make_engine, self.engine, self.status, self.background)
        self.chat = ChatSession(
            self.settings, self.chat_engine, self.background, self._warn_from_thread
        )
        self.tasks = TaskSession(
            self.settings, self.engine, self.chat, self.documents, self.consent
        )

    def initialize(self, options: Any) -> None:
        """Prepare the session when the client connects, before any document is open."""
        self._event_loop = asyncio.get_running_loop()
        self.protocol.use_document_class(Document)
        try:
            self._options = find_section(options, is_ours=True) or {}
        except ConfigurationError as error:
            self.report_settings(error)
        self._apply(self._options)

    def change_settings(self, section: Mapping[str, Any]) -> None:
        """Use the client's section with our settings, and `initializationOptions` for the others.

        A client that has removed a setting from its section means the value before.
        """
        self._apply({**self._options, **section})

    def report_settings(self, error: ConfigurationError) -> None:
        """Show why a value from the client cannot contain settings."""
        self.status.notify_once(error.user_message, types.MessageType.Warning)

    def _apply(self, members: Mapping[str, Any]) -> None:
        """Use settings, and report the values that cannot be used."""
        if members == self._members:
            return
        self._members = members
        resolved = resolve(members)
        self.status.reset_notifications()
        if resolved.problems:
            self.status.notify_once("\n".join(resolved.problems), types.MessageType.Warning)
        was_enabled, self.settings = self.settings.enabled, resolved.settings
        set_log_level(self.settings.log_level)
        # The engines come first: the others use the current ones.
        self.engine.apply_settings(self.settings)
        self.chat_engine.apply_settings(self.settings)
        self.completions.apply_settings(self.settings)
        self.chat.apply_settings(self.settings)
        self.tasks.apply_settings(self.settings)
        self.consent.apply_settings(self.settings)
        if was_enabled and not self.settings.enabled:
            self.status.show_disabled()
        elif self.settings.enabled and not was_enabled:
            self.status.update(why="")
            self.background.spawn(self.engine.start())  # whether it is ready, only it knows

    async def close(self) -> None:
        """End background tasks and connections; the engine process goes on for other clients."""
        self.background.cancel_all()
        self.consent.close()
        self.code_runs.stop_all()
        self.completions.stop()
        await self.chat_engine.aclose()
        await self.engine.aclose()

    def _warn_from_thread(self, message: str) -> None:
        """Show a warning to the user; may be called from any thread."""
        loop = self._event_loop
        if loop is not None:
            loop.call_soon_threadsafe(self.status.notify_once, message, types.MessageType.Warning)

    def report_server_error(self, error: Exception, source: Any) -> None:
        """Show that a notification failed, without details: they may contain user code.

        Failed requests are not shown, because their error response reports the failure.
        """
        if source is not FeatureRequestError:
            log.error("a notification failed", exc_info=error)
            self.status.notify_once(INTERNAL_ERROR_MESSAGE, types.MessageType.Error)
