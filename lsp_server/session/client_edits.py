"""Workspace edits for one client: a proposal in the form that the client supports."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from lsprotocol import types
from pygls.lsp.server import LanguageServer

from chat.tasks.target import DocumentEdit, FileEdit, Proposal, WorkspaceFiles
from engine.errors import RequestError
from lsp_server.session.client_requests import NoAnswerError, ask_client
from lsp_server.session.documents import LineIndex
from lsp_server.session.new_files import NewFiles
from lsp_server.session.uris import uri_of
from lsp_server.session.workspace_documents import WorkspaceDocuments

_ANNOTATION = "starcoder"

Edit = DocumentEdit | FileEdit
DocumentChange = types.TextDocumentEdit | types.CreateFile | types.RenameFile | types.DeleteFile


class ClientEdits:
    """Converts proposals to workspace edits, and has the client apply them."""

    def __init__(self, server: LanguageServer, documents: WorkspaceDocuments) -> None:
        self._server = server
        self._documents = documents

    async def apply(self, proposal: Proposal, files: WorkspaceFiles) -> bool:
        """Have the client apply a proposal; False if the client or its user refused.

        Raises RequestError if a file cannot be created, or if the client fails.
        """
        new_files = None
        if any(_creates(edit) for edit in proposal.edits) and not self._can_create_files:
            new_files = NewFiles(proposal)
            try:
                proposal = await asyncio.to_thread(new_files.create)
            except OSError as error:
                message = f"{error.filename} cannot be created: {error.strerror}."
                raise RequestError(message) from None
        edit = self.workspace_edit(proposal, files)
        params = types.ApplyWorkspaceEditParams(edit, label=proposal.title)
        is_applied = False
        try:
            result = await ask_client(self._server, types.WORKSPACE_APPLY_EDIT, params)
            is_applied = bool(result.applied)
        except NoAnswerError:
            raise RequestError("The editor did not apply the edit.") from None
        finally:
            if new_files is not None and not is_applied:
                await asyncio.to_thread(new_files.remove_empty)
        return is_applied

    def workspace_edit(self, proposal: Proposal, files: WorkspaceFiles) -> types.WorkspaceEdit:
        """Return the edit; if the client supports it, the user is asked before any change.

        Raises RequestError if a file must be created and the client cannot create files.
        """
        capabilities = self._capabilities
        # Clients that create files read them from document changes, even those that, like Neovim,
        # announce only the former.
        uses_document_changes = capabilities is not None and (
            capabilities.document_changes or capabilities.resource_operations
        )
        if capabilities is None or not uses_document_changes:
            return types.WorkspaceEdit(changes=self._plain_changes(proposal.edits, files))
        annotation_id = _ANNOTATION if capabilities.change_annotation_support is not None else None
        changes: list[DocumentChange] = []
        for edit in proposal.edits:
            if isinstance(edit, FileEdit) and edit.creates:
                changes.append(self._create_file(edit, annotation_id))
            changes.append(self._document_edit(edit, files, annotation_id))
        annotation = types.ChangeAnnotation(
            label=proposal.title, needs_confirmation=True, description="StarCoder"
        )
        return types.WorkspaceEdit(
            document_changes=changes,
            change_annotations={_ANNOTATION: annotation} if annotation_id else None,
        )

    @property
    def _capabilities(self) -> types.WorkspaceEditClientCapabilities | None:
        workspace = self._server.client_capabilities.workspace
        return workspace.workspace_edit if workspace else None

    @property
    def _can_create_files(self) -> bool:
        """Whether the client creates files that an edit contains."""
        operations = (self._capabilities and self._capabilities.resource_operations) or ()
        return types.ResourceOperationKind.Create in operations

    def _create_file(self, edit: FileEdit, annotation_id: str | None) -> types.CreateFile:
        if not self._can_create_files:
            raise _cannot_create(edit)
        return types.CreateFile(
            uri=uri_of(edit.path),
            # An empty file that appeared meanwhile is filled; one with text stays unchanged.
            options=types.CreateFileOptions(overwrite=False),
            annotation_id=annotation_id,
        )

    def _document_edit(
        self, edit: Edit, files: WorkspaceFiles, annotation_id: str | None
    ) -> types.TextDocumentEdit:
        document = self._documents.find_open(_uri_of(edit))
        identifier = types.OptionalVersionedTextDocumentIdentifier(
            document.uri if document else _uri_of(edit), document.version if document else None
        )
        change = self._text_edit(edit, files)
        if annotation_id is None:
            return types.TextDocumentEdit(identifier, [change])
        annotated = types.AnnotatedTextEdit(
            annotation_id=annotation_id, range=change.range, new_text=change.new_text
        )
        return types.TextDocumentEdit(identifier, [annotated])

    def _plain_changes(
        self, edits: Iterable[Edit], files: WorkspaceFiles
    ) -> dict[str, list[types.TextEdit]]:
        """Return the changes by URI, for clients without document changes."""
        changes: dict[str, list[types.TextEdit]] = {}
        for edit in edits:
            if isinstance(edit, FileEdit) and edit.creates:
                raise _cannot_create(edit)
            document = self._documents.find_open(_uri_of(edit))
            uri = document.uri if document else _uri_of(edit)
            changes.setdefault(uri, []).append(self._text_edit(edit, files))
        return changes

    def _text_edit(self, edit: Edit, files: WorkspaceFiles) -> types.TextEdit:
        document = self._documents.find_open(_uri_of(edit))
        on_disk = files.read(edit.path) if document is None and isinstance(edit, FileEdit) else ""
        index = document.index if document else LineIndex(on_disk or "")
        encoding = self._documents.position_encoding
        start, end = index.position(edit.start, encoding), index.position(edit.end, encoding)
        return types.TextEdit(types.Range(start, end), edit.text)


def _uri_of(edit: Edit) -> str:
    return edit.uri if isinstance(edit, DocumentEdit) else uri_of(edit.path)


def _creates(edit: Edit) -> bool:
    return isinstance(edit, FileEdit) and edit.creates


def _cannot_create(edit: FileEdit) -> RequestError:
    return RequestError(
        f"This editor cannot create files for a server. Create {edit.path} as an empty file and "
        "try again."
    )
