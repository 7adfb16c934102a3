"""Reads the text of attachments from open documents or from disk."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from chat.attachments import Attachment
from engine.errors import RequestError
from lsp_server.session.documents import Document
from lsp_server.session.protocol import Params, RangeParams
from lsp_server.session.uris import file_of, name_of
from lsp_server.session.workspace_documents import WorkspaceDocuments
from workspace.files import TooLargeError, read_text

MAX_FILE_BYTES = 200_000
"""Size of the largest file that can be attached; it is much longer than any context window."""


class AttachmentParams(Params):
    """An attachment that the client adds to a message."""

    kind: Literal["selection", "file", "diagnostics", "terminal"]
    uri: str | None = None
    """The document of a selection or file; the server reads its text."""
    range: RangeParams | None = None
    text: str | None = None
    """The text of diagnostics or a terminal."""
    label: str | None = None


async def read_attachments(
    documents: WorkspaceDocuments, attachments: Sequence[AttachmentParams]
) -> list[Attachment]:
    """Return attachments with their texts. Raises RequestError for one that cannot be read."""
    return [await _read(documents, attachment) for attachment in attachments]


async def _read(documents: WorkspaceDocuments, params: AttachmentParams) -> Attachment:
    if params.kind in ("diagnostics", "terminal") or params.uri is None:
        if params.text is None:
            raise RequestError(f"The attached {params.kind} has no text.")
        return Attachment(params.kind, params.label or params.kind.capitalize(), params.text)
    document = documents.find_open(params.uri)
    if document is not None:
        name = params.label or _label(documents, document)
        if params.range is not None:
            return _selection(document, params, params.range, name)
        return Attachment(params.kind, name, document.source, document.language_id or "")
    name = params.label or name_of(params.uri)
    if params.range is not None:
        raise RequestError(f"{name} is not open, so a selection in it cannot be attached.")
    cells = documents.notebook_cells(params.uri)
    if cells is not None:
        return Attachment(params.kind, name, "\n\n".join(cell.text for cell in cells))
    path = file_of(params.uri)
    if path is None:
        raise RequestError(f"{name} is not open, and it is not a file of this machine. Open it.")
    text = await asyncio.to_thread(_read_file, path, documents.folder_of(path))
    return Attachment(params.kind, name, text)


def _label(documents: WorkspaceDocuments, document: Document) -> str:
    """Return a document's name, with the number of a cell in its notebook."""
    name, number = name_of(document.uri), documents.cell_number(document.uri)
    return name if number is None else f"{name} cell {number}"


def _selection(
    document: Document, params: AttachmentParams, range_: RangeParams, name: str
) -> Attachment:
    start, end = range_.start, range_.end
    # A selection that ends at the beginning of a line does not include that line.
    ends_before_line = end.character == 0 and end.line > start.line
    last_line = end.line if ends_before_line else end.line + 1
    label = params.label or f"{name}:{start.line + 1}-{last_line}"
    first_offset = document.offset_at_position(start.to_lsp())
    last_offset = document.offset_at_position(end.to_lsp())
    text = document.source[first_offset:last_offset]
    return Attachment(params.kind, label, text, document.language_id or "")


def _read_file(path: Path, folder: Path | None) -> str:
    """Return a file's text. A file of a workspace folder must not lead out of it."""
    try:
        return read_text(path, MAX_FILE_BYTES, inside=folder)
    except TooLargeError:
        raise RequestError(f"{path.name} is too large to attach. Select a part of it.") from None
    except (OSError, UnicodeDecodeError):
        raise RequestError(f"{path.name} cannot be read as text.") from None
