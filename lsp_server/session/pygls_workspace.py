"""The adaptation of pygls's workspace. It uses private members of pygls; each use has its reason.

What can be reported to pygls: lines end as in Python and not as in LSP (see `documents`),
`Workspace.get_text_document` reads any file from the disk whose document is not open, and a folder
that one `workspace/didChangeWorkspaceFolders` removes and adds is lost.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from typing import Any
from urllib.parse import unquote

from lsprotocol import types
from pygls.workspace import TextDocument, Workspace

from lsp_server.session.uris import canonical
from syntax.languages import language_id as known_language_id

log = logging.getLogger(__name__)


class EditableDocument(TextDocument, ABC):
    """A document whose subclass decides how an incremental edit changes the text.

    pygls splits a change into the edit and the bookkeeping only in private members.
    """

    @property
    @abstractmethod
    def exact_text(self) -> str:
        """The text as the client has it."""

    @exact_text.setter
    @abstractmethod
    def exact_text(self, text: str) -> None: ...

    @abstractmethod
    def edit(self, change: types.TextDocumentContentChangePartial) -> None:
        """Change the text by an edit."""

    def _apply_incremental_change(self, change: types.TextDocumentContentChangePartial) -> None:
        self.edit(change)

    @property
    def _source(self) -> str:
        """The attribute in which pygls keeps the text; here it is put together when needed."""
        return self.exact_text

    @_source.setter
    def _source(self, text: str | None) -> None:
        self.exact_text = text or ""


def _key(folder: types.WorkspaceFolder) -> str:
    """Return the key of a folder in pygls, whatever slash ends its URI."""
    return unquote(folder.uri).rstrip("/")


class WorkspaceWithDocuments(Workspace):
    """A workspace that creates documents of a given class; pygls has no argument for it."""

    def __init__(self, document_class: type[TextDocument], *args: Any) -> None:
        self._document_class = document_class
        super().__init__(*args)
        if self._folders:
            self._root_uri = None  # one of the folders, which may leave the workspace

    def change_folders(self, event: types.WorkspaceFoldersChangeEvent) -> None:
        """Remove and add folders. pygls would remove one that is in both lists.

        Servers and clients may write the URI of one folder differently.
        """
        for removed in event.removed:
            for key in [key for key in self._folders if key.rstrip("/") == _key(removed)]:
                del self._folders[key]
        for folder in event.added:
            self.add_folder(folder)

    def _create_text_document(
        self,
        doc_uri: str,
        source: str | None = None,
        version: int | None = None,
        language_id: str | None = None,
    ) -> TextDocument:
        return self._document_class(
            doc_uri,
            source=source or "",  # with None, a document that is not open is read from the disk
            version=version,
            language_id=known_language_id(language_id or "", unquote(doc_uri)),
            sync_kind=self._sync_kind,
            position_codec=self._position_codec,
        )

    def update_text_document(
        self,
        text_doc: types.VersionedTextDocumentIdentifier,
        change: types.TextDocumentContentChangeEvent,
    ) -> None:
        """Change an open document. pygls raises KeyError for another one.

        Some clients send changes before they open a document or after they close it.
        """
        uri = self._opened_as(text_doc.uri)
        if unquote(uri) not in self.text_documents:
            log.warning("a change of a document that is not open is ignored")
            return
        identifier = types.VersionedTextDocumentIdentifier(version=text_doc.version, uri=uri)
        super().update_text_document(identifier, change)

    def remove_text_document(self, doc_uri: str) -> None:
        """Close a document, in whatever spelling the client opened it."""
        super().remove_text_document(self._opened_as(doc_uri))

    def update_notebook_document(self, params: types.DidChangeNotebookDocumentParams) -> None:
        """Change an open notebook. pygls raises KeyError for another one.

        A cell that one change closes and opens, because its kind or language is new, stays open.
        pygls opens it first and then closes it.
        """
        if unquote(params.notebook_document.uri) not in self.notebook_documents:
            log.warning("a change of a notebook that is not open is ignored")
            return
        cells = params.change.cells
        structure = cells.structure if cells is not None else None
        for closed in (structure and structure.did_close) or ():
            self.remove_text_document(closed.uri)
        if structure is not None:
            structure.did_close = None
        super().update_notebook_document(params)

    def _opened_as(self, uri: str) -> str:
        """Return the spelling in which the document of a URI was opened."""
        if unquote(uri) in self.text_documents:
            return uri
        same = canonical(uri)
        opened = (document.uri for document in self.text_documents.values())
        return next((each for each in opened if canonical(each) == same), uri)
