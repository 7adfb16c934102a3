"""Proposals of tasks as workspace edits, as far as a client understands those."""

from __future__ import annotations

from collections.abc import Iterable

from lsprotocol import types
from pygls.uris import from_fs_path

from chat.tasks.target import FileEdit, Proposal, WorkspaceFiles
from lsp_server.session.documents import Document, LineIndex
from lsp_server.session.server import StarcoderServer

_ANNOTATION = "starcoder"


class Unsupported(Exception):  # noqa: N818 - the caller turns it into words
    """The client cannot make a file."""


def makes_files(server: StarcoderServer) -> bool:
    """Whether the client makes a file where an edit says so."""
    capabilities = _capabilities(server)
    operations = (capabilities.resource_operations if capabilities else None) or ()
    return types.ResourceOperationKind.Create in operations


def workspace_edit(
    server: StarcoderServer, proposal: Proposal, files: WorkspaceFiles
) -> types.WorkspaceEdit:
    """Return the edit; where the client can, it asks the user before it changes anything.

    Raises Unsupported where a file must be made and the client makes none.
    """
    capabilities = _capabilities(server)
    operations = (capabilities.resource_operations if capabilities else None) or ()
    # Who makes files reads them among document changes; Neovim says only the one.
    if capabilities is None or not (capabilities.document_changes or operations):
        return types.WorkspaceEdit(changes=_plain_changes(server, proposal.edits, files))
    annotated = capabilities.change_annotation_support is not None
    changes: list[
        types.TextDocumentEdit | types.CreateFile | types.RenameFile | types.DeleteFile
    ] = []
    for one in proposal.edits:
        if one.creates:
            if not makes_files(server):
                raise Unsupported
            # An empty file that somebody made meanwhile is filled; one with text is never touched.
            changes.append(
                types.CreateFile(
                    uri=_uri(one),
                    options=types.CreateFileOptions(overwrite=False),
                    annotation_id=_ANNOTATION if annotated else None,
                )
            )
        changes.append(_text_edit(server, one, files, annotated=annotated))
    annotation = types.ChangeAnnotation(
        label=proposal.title, needs_confirmation=True, description="StarCoder"
    )
    return types.WorkspaceEdit(
        document_changes=changes,
        change_annotations={_ANNOTATION: annotation} if annotated else None,
    )


def _capabilities(server: StarcoderServer) -> types.WorkspaceEditClientCapabilities | None:
    workspace = server.client_capabilities.workspace
    return workspace.workspace_edit if workspace else None


def _uri(edit: FileEdit) -> str:
    return from_fs_path(str(edit.path)) or ""


def open_document(server: StarcoderServer, uri: str) -> Document | None:
    """Return a document if it is open in the editor, whatever way its URI is escaped."""
    documents = server.workspace.text_documents
    found = documents.get(uri)
    if found is None:
        same = (one for one in documents.values() if one.path and from_fs_path(one.path) == uri)
        found = next(same, None)
    return found if isinstance(found, Document) else None


def _text_edit(
    server: StarcoderServer, edit: FileEdit, files: WorkspaceFiles, *, annotated: bool
) -> types.TextDocumentEdit:
    document = open_document(server, _uri(edit))
    uri = document.uri if document else _uri(edit)
    identifier = types.OptionalVersionedTextDocumentIdentifier(
        uri, document.version if document else None
    )
    change = _change(server, edit, files)
    if not annotated:
        return types.TextDocumentEdit(identifier, [change])
    noted = types.AnnotatedTextEdit(
        annotation_id=_ANNOTATION, range=change.range, new_text=change.new_text
    )
    return types.TextDocumentEdit(identifier, [noted])


def _change(server: StarcoderServer, edit: FileEdit, files: WorkspaceFiles) -> types.TextEdit:
    document = open_document(server, _uri(edit))
    index = document.index if document else LineIndex(files.read(edit.path) or "")
    encoding = server.workspace.position_encoding or types.PositionEncodingKind.Utf16
    start = index.position(edit.start, encoding)
    return types.TextEdit(types.Range(start, index.position(edit.end, encoding)), edit.text)


def _plain_changes(
    server: StarcoderServer, edits: Iterable[FileEdit], files: WorkspaceFiles
) -> dict[str, list[types.TextEdit]]:
    changes: dict[str, list[types.TextEdit]] = {}
    for one in edits:
        if one.creates:
            raise Unsupported
        document = open_document(server, _uri(one))
        uri = document.uri if document else _uri(one)
        changes.setdefault(uri, []).append(_change(server, one, files))
    return changes
