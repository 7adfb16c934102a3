"""The workspace as the client shows it: its folders and open documents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast
from urllib.parse import unquote

from lsprotocol import types
from pygls.workspace import Workspace

from chat.tasks.target import WorkspaceFiles
from engine.errors import RequestError
from fim.snapshot import Cell, Snapshot
from lsp_server.session.documents import Document, Encoding
from lsp_server.session.places import innermost
from lsp_server.session.uris import path_of, uri_of


class WorkspaceDocuments:
    """Looks up the documents and folders of one client's workspace."""

    def __init__(self, workspace: Callable[[], Workspace]) -> None:
        """`workspace` returns the workspace of pygls, which exists from `initialize` on."""
        self._workspace = workspace

    # Documents.

    def document(self, uri: str) -> Document:
        """Return an open document; raises RequestError for one that is not open.

        A document that is not open is never read from disk: it may be a device.
        """
        document = self.find_open(uri)
        if document is None:
            raise RequestError(f"{path_of(uri).name} is not open in the editor.")
        return document

    def open_documents(self) -> dict[str, Document]:
        """Return the open documents by URI."""
        return cast("dict[str, Document]", dict(self._workspace().text_documents))

    def is_open(self, uri: str) -> bool:
        """Whether a document with exactly this URI is open."""
        return uri in self._workspace().text_documents

    def open_text(self, uri: str) -> str | None:
        """Return the text of an open document, None if it is closed."""
        return self.document(uri).source if self.is_open(uri) else None

    def find_open(self, uri: str) -> Document | None:
        """Return an open document; the URI may be escaped differently from the document's."""
        documents = self.open_documents()
        # pygls keys its documents by their URIs without escapes.
        if (document := documents.get(unquote(uri))) is not None:
            return document
        matches = (
            document
            for document in documents.values()
            if document.path and uri_of(document.path) == uri
        )
        return next(matches, None)

    def snapshot(self, uri: str, position: types.Position) -> Snapshot:
        """Return the current text of a document with the cursor at a position."""
        document = self.document(uri)
        return Snapshot(
            uri,
            document.language_id or "",
            document.source,
            document.offset_at_position(position),
            document.version,
            self._cells_before(uri),
        )

    def container_uri(self, uri: str) -> str:
        """Return the URI of the notebook that contains a cell, or the URI of another document."""
        notebook = self._workspace().get_notebook_document(cell_uri=uri)
        return uri if notebook is None else notebook.uri

    def _cells_before(self, uri: str) -> tuple[Cell, ...]:
        """Return the cells of a notebook that precede this cell; empty for other documents."""
        notebook = self._workspace().get_notebook_document(cell_uri=uri)
        cells: list[Cell] = []
        for cell in notebook.cells if notebook is not None else ():
            if cell.document == uri:
                return tuple(cells)
            text = self.open_text(cell.document)
            if text is not None and text.strip():
                is_code = cell.kind == types.NotebookCellKind.Code
                cells.append(Cell("code" if is_code else "text", text))
        return ()

    # Folders.

    @property
    def root_uri(self) -> str:
        """The URI of the first workspace folder; empty without a workspace."""
        return next(iter(self.folder_uris()), "")

    def folder_uris(self) -> Sequence[str]:
        """Return the URIs of the workspace folders, or the root of a client without folders."""
        workspace = self._workspace()
        folders = [folder.uri for folder in workspace.folders.values()]
        return folders or ([workspace.root_uri] if workspace.root_uri else [])

    def root_of(self, path: Path) -> Path:
        """Return the workspace folder that contains a file, or the file's own folder."""
        return self.folder_of(path) or path.parent

    def folder_of(self, path: Path) -> Path | None:
        """Return the workspace folder that contains a file, None if no folder does."""
        return innermost(path, [path_of(uri) for uri in self.folder_uris()])

    def files_of(self, path: Path) -> WorkspaceFiles:
        """Return the files of a file's workspace; open documents take precedence over the disk."""
        texts = {path_of(uri): document.source for uri, document in self.open_documents().items()}
        return WorkspaceFiles(self.root_of(path), texts.get, self.folder_of(path))

    @property
    def position_encoding(self) -> Encoding:
        """The client's position encoding."""
        return self._workspace().position_encoding or types.PositionEncodingKind.Utf16
