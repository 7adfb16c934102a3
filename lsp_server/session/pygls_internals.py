"""The only module that uses private members of pygls; each use gives its reason.

pyproject.toml pins pygls below version 3, so these members do not change unnoticed.
"""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from typing import Any

from lsprotocol import types
from pygls.protocol import LanguageServerProtocol, lsp_method
from pygls.workspace import TextDocument, Workspace

_INTERNAL_ERROR = -32603
INTERNAL_ERROR_MESSAGE = "The language server failed to handle this; its log has the details."


class StarcoderProtocol(LanguageServerProtocol):
    """The protocol of a connection, which reveals no user code in its error messages."""

    def _send_response(
        self, msg_id: Any, result: Any = None, error: types.ResponseError | None = None
    ) -> None:
        """Replace the text of internal errors before they are sent.

        pygls builds the error of an unexpected exception from its message and traceback and passes
        it to `_send_response`. Both may contain user code. The log has them.
        """
        if error is not None and error.code == _INTERNAL_ERROR:
            error = types.ResponseError(_INTERNAL_ERROR, INTERNAL_ERROR_MESSAGE)
        super()._send_response(msg_id, result, error)

    def _execute_handler(
        self,
        msg_id: Any,
        handler: Callable[..., Any],
        callback: Callable[[Any], Any],
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
    ) -> None:
        """Forget the future of a handler once it is done.

        pygls forgets those of requests only. It would keep one for each `didChange`, so the server
        would grow with each key. They are forgotten a moment later, because pygls iterates over the
        futures at `shutdown` while it cancels them.
        """

        def finish(future: Any) -> None:
            asyncio.get_running_loop().call_soon(self._forget, msg_id, future)
            callback(future)

        super()._execute_handler(msg_id, handler, finish, args, kwargs)

    def _forget(self, msg_id: Any, future: Any) -> None:
        if self._request_futures.get(msg_id) is future:
            del self._request_futures[msg_id]

    def use_document_class(self, document_class: type[TextDocument]) -> None:
        """Make the workspace create documents of this class; call before any document is open.

        pygls creates the workspace itself when it handles `initialize` and has no argument for its
        class, so the attribute `_workspace` is the only way to replace it.
        """
        old = self.workspace
        self._workspace = _WorkspaceWithDocuments(
            document_class,
            old.root_uri,
            self._server._text_document_sync_kind,
            list(old.folders.values()),
            old.position_encoding,
        )


class ConnectionProtocol(StarcoderProtocol):
    """The protocol of one of many connections in one process."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.exited = threading.Event()
        """Set when the client has sent `exit`."""

    @lsp_method(types.EXIT)
    def lsp_exit(self, *_: Any) -> Generator[Any, Any, None]:
        """Close the connection; the method of pygls would end the process."""
        yield from ()
        self.exited.set()
        if self.writer is not None:
            self.writer.close()

    def cancel_requests(self) -> None:
        """Cancel all in-flight requests; pygls does so only at `shutdown`."""
        for future in list(self._request_futures.values()):
            future.cancel()


class EditableDocument(TextDocument, ABC):
    """A document whose subclass decides how an incremental edit changes the text.

    pygls splits a change into the edit and the bookkeeping only in private members.
    """

    @abstractmethod
    def text_after(self, change: types.TextDocumentContentChangePartial) -> str:
        """Return the text after an edit."""

    def _apply_incremental_change(self, change: types.TextDocumentContentChangePartial) -> None:
        self._source = self.text_after(change)


class _WorkspaceWithDocuments(Workspace):
    """A workspace that creates documents of a given class; pygls has no argument for it."""

    def __init__(self, document_class: type[TextDocument], *args: Any) -> None:
        self._document_class = document_class
        super().__init__(*args)

    def _create_text_document(
        self,
        doc_uri: str,
        source: str | None = None,
        version: int | None = None,
        language_id: str | None = None,
    ) -> TextDocument:
        return self._document_class(
            doc_uri,
            source=source,
            version=version,
            language_id=language_id,
            sync_kind=self._sync_kind,
            position_codec=self._position_codec,
        )
