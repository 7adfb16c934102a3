"""The workspace as the client shows it: its folders, documents and notebooks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import cast
from urllib.parse import unquote

from lsprotocol import types
from pygls.workspace import Workspace

from engine.errors import RequestError
from fim.snapshot import Cell, Snapshot
from lsp_server.session.documents import Document
from lsp_server.session.line_index import Encoding
from lsp_server.session.open_texts import OpenTexts
from lsp_server.session.places import innermost
from lsp_server.session.uris import canonical, file_of, folder_of, name_of, parse_uri


class WorkspaceDocuments:
    """Looks up the documents and folders of one client's workspace.

    A document is what the client named: a file, an unsaved or virtual document, or a cell of a
    notebook. All lookups treat URIs as equal that differ only in their escapes.
    """

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
            raise RequestError(f"{name_of(uri)} is not open in the editor.")
        return document

    def open_documents(self) -> list[Document]:
        """Return the open documents, with the cells of open notebooks."""
        return cast("list[Document]", list(self._workspace().text_documents.values()))

    def find_open(self, uri: str) -> Document | None:
        """Return an open document; the URI may be escaped differently from the document's."""
        documents = self._workspace().text_documents
        # pygls keys its documents by their URIs without escapes.
        document = documents.get(unquote(uri))
        if document is None or canonical(document.uri) != canonical(uri):
            canonical_uri = canonical(uri)
            matches = (
                open_ for open_ in documents.values() if canonical(open_.uri) == canonical_uri
            )
            document = next(matches, None)
        return cast("Document | None", document)

    def open_text(self, uri: str) -> str | None:
        """Return the text of an open document, None if it is closed."""
        document = self.find_open(uri)
        return None if document is None else document.source

    async def open_texts(self) -> OpenTexts:
        """Return the texts of all open documents at this moment."""
        texts = {document.uri: document.source for document in self.open_documents()}
        files = {
            document.uri: file
            for document in self.open_documents()
            if (file := self.file_of(document)) is not None
        }
        return await asyncio.to_thread(OpenTexts, texts, files)

    def snapshot(self, uri: str, position: types.Position) -> Snapshot:
        """Return the current text of a document with the cursor at a position."""
        document = self.document(uri)
        return Snapshot(
            canonical(document.uri),
            document.language_id or "",
            document.source,
            document.offset_at_position(position),
            document.version,
            self.cells_before(document.uri),
        )

    # Files.

    def file_of(self, document: Document) -> Path | None:
        """Return the file of a document; None for one that is no file of this machine."""
        return None if self._notebook_of(document.uri) is not None else file_of(document.uri)

    def why_no_file(self, document: Document) -> str:
        """Return a sentence that says why a document is no file, and what to do."""
        uri = parse_uri(document.uri)
        name = uri.name if uri.path.strip("/") else "This document"
        if self._notebook_of(document.uri) is not None or uri.fragment:
            return "Other files cannot use a cell of a notebook. Move the code to a file first."
        if uri.scheme in ("file", "untitled") and not uri.authority:
            return f"{name} is not saved. Save it to a file first."
        return f"{name} is not a file of this machine ({uri.scheme}), so no file can use it."

    # Notebooks.

    def cells_before(self, uri: str) -> tuple[Cell, ...]:
        """Return the cells of a notebook that precede this cell; empty for other documents."""
        notebook = self._notebook_of(uri)
        return () if notebook is None else tuple(self._cells(notebook, canonical(uri)))

    def container_uri(self, uri: str) -> str:
        """Return the URI of the notebook that contains a cell, or the URI of another document."""
        notebook = self._notebook_of(uri)
        return uri if notebook is None else notebook.uri

    def notebook_cells(self, uri: str) -> list[Cell] | None:
        """Return the cells of an open notebook, None if it is not open."""
        canonical_uri = canonical(uri)
        notebooks = self._workspace().notebook_documents.values()
        notebook = next(
            (open_ for open_ in notebooks if canonical(open_.uri) == canonical_uri), None
        )
        return None if notebook is None else self._cells(notebook, None)

    def cell_number(self, uri: str) -> int | None:
        """Return the number of a cell in its notebook, from 1; None for other documents."""
        notebook, canonical_uri = self._notebook_of(uri), canonical(uri)
        cells = notebook.cells if notebook is not None else ()
        numbers = (
            n for n, cell in enumerate(cells, 1) if canonical(cell.document) == canonical_uri
        )
        return next(numbers, None)

    def _notebook_of(self, uri: str) -> types.NotebookDocument | None:
        """Return the open notebook that contains this cell, None for other documents."""
        notebook = self._workspace().get_notebook_document(cell_uri=uri)
        if notebook is None and (document := self.find_open(uri)) is not None:
            notebook = self._workspace().get_notebook_document(cell_uri=document.uri)
        return notebook

    def _cells(self, notebook: types.NotebookDocument, end: str | None) -> list[Cell]:
        """Return the cells with text, up to the cell with the canonical URI `end`."""
        cells: list[Cell] = []
        for cell in notebook.cells:
            if canonical(cell.document) == end:
                break
            text = self.open_text(cell.document)
            if text is not None and text.strip():
                is_code = cell.kind == types.NotebookCellKind.Code
                cells.append(Cell("code" if is_code else "text", text))
        return cells

    # Folders.

    @property
    def root_uri(self) -> str:
        """The canonical URI of the first workspace folder; empty without a workspace."""
        first = canonical(next(iter(self.folder_uris()), ""))
        return first if first == "file:///" else first.rstrip("/")

    def folder_uris(self) -> list[str]:
        """Return the URIs of the workspace folders, or the root of a client without folders."""
        workspace = self._workspace()
        folders = [folder.uri for folder in workspace.folders.values()]
        return folders or ([workspace.root_uri] if workspace.root_uri else [])

    def folder_of(self, path: Path) -> Path | None:
        """Return the innermost workspace folder that contains a file, None if no folder does."""
        folders = [folder for uri in self.folder_uris() if (folder := folder_of(uri)) is not None]
        return innermost(path, folders)

    def project_folders(self) -> list[Path]:
        """Return the workspace folders, and the folders of open files that are in none."""
        folders = [folder for uri in self.folder_uris() if (folder := folder_of(uri)) is not None]
        files = [file for each in self.open_documents() if (file := self.file_of(each)) is not None]
        return [*folders, *(file.parent for file in files if self.folder_of(file) is None)]

    @property
    def position_encoding(self) -> Encoding:
        """The client's position encoding."""
        return self._workspace().position_encoding or types.PositionEncodingKind.Utf16
