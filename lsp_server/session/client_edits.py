"""Workspace edits for one client: a proposal in the form that the client supports."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, replace

from lsprotocol import types
from pygls.lsp.server import LanguageServer

from chat.tasks.target import DocumentEdit, FileEdit
from engine.errors import RequestError, reason_of
from lsp_server.session.client_requests import NoAnswerError, ask_client
from lsp_server.session.line_index import LineIndex
from lsp_server.session.new_files import NewFiles
from lsp_server.session.open_texts import moved_edit
from lsp_server.session.tasks import TaskResult
from lsp_server.session.uris import uri_of
from lsp_server.session.workspace_documents import WorkspaceDocuments

DocumentChange = types.TextDocumentEdit | types.CreateFile | types.RenameFile | types.DeleteFile


@dataclass(frozen=True, slots=True)
class _Change:
    """An edit of one document or file, with positions in the client's encoding."""

    uri: str
    version: int | None
    edit: types.TextEdit
    creates: bool
    """Whether the file must be created first."""


class ClientEdits:
    """Converts proposals to workspace edits, and has the client apply them."""

    def __init__(self, server: LanguageServer, documents: WorkspaceDocuments) -> None:
        self._server = server
        self._documents = documents

    async def apply(self, result: TaskResult) -> bool:
        """Have the client apply a proposal; False if the client or its user refused.

        Raises RequestError if a file cannot be created, if the client fails, or if the user
        changed the code meanwhile.
        """
        if self._can_create_files or not any(map(_creates, result.proposal.edits)):
            return await self._apply(result)
        new_files, is_applied = NewFiles(result.proposal), False
        try:
            proposal = await asyncio.to_thread(new_files.create)
            is_applied = await self._apply(replace(result, proposal=proposal))
        except OSError as error:
            message = f"{error.filename} cannot be created: {reason_of(error)}."
            raise RequestError(message) from None
        finally:
            if not is_applied:
                await asyncio.to_thread(new_files.remove_empty)
        return is_applied

    async def _apply(self, result: TaskResult) -> bool:
        edit = await self.workspace_edit(result)
        params = types.ApplyWorkspaceEditParams(edit, label=result.proposal.title)
        try:
            answer = await ask_client(self._server, types.WORKSPACE_APPLY_EDIT, params)
        except NoAnswerError:
            raise RequestError("The editor did not apply the edit.") from None
        return bool(answer.applied)

    async def workspace_edit(self, result: TaskResult) -> types.WorkspaceEdit:
        """Return the edit. A client that wants to ask its user first shows it before it applies it.

        It has no change annotations: editors show edits that need a confirmation unticked, so that
        confirming them changes nothing. Raises RequestError if a file must be created and the
        client cannot create files, or if the user changed the code meanwhile.
        """
        changes = [await self._change(edit, result) for edit in result.proposal.edits]
        missing = next((change.uri for change in changes if change.creates), None)
        if missing is not None and not self._can_create_files:
            raise RequestError(
                f"This editor cannot create files for a server. Create {missing} as an empty file "
                "and try again."
            )
        capabilities = self._capabilities
        # Clients that create files read them from document changes, even those that, like Neovim,
        # announce only the former.
        if capabilities is None or not (
            capabilities.document_changes or capabilities.resource_operations
        ):
            return types.WorkspaceEdit(changes=_plain_changes(changes))
        return types.WorkspaceEdit(document_changes=_document_changes(changes))

    @property
    def _capabilities(self) -> types.WorkspaceEditClientCapabilities | None:
        workspace = self._server.client_capabilities.workspace
        return workspace.workspace_edit if workspace else None

    @property
    def _can_create_files(self) -> bool:
        """Whether the client creates files that an edit contains."""
        operations = (self._capabilities and self._capabilities.resource_operations) or ()
        return types.ResourceOperationKind.Create in operations

    async def _change(self, edit: DocumentEdit | FileEdit, result: TaskResult) -> _Change:
        encoding = self._documents.position_encoding
        if isinstance(edit, FileEdit):
            text = "" if edit.creates else await asyncio.to_thread(result.files.read, edit.path)
            text_edit = _text_edit(edit, LineIndex(text or ""), encoding)
            return _Change(uri_of(edit.path), None, text_edit, edit.creates)
        document = self._documents.document(edit.uri)
        moved = moved_edit(edit, result.texts.texts[edit.uri], document.source)
        text_edit = _text_edit(moved, document.index, encoding)
        return _Change(document.uri, document.version, text_edit, creates=False)


def _creates(edit: DocumentEdit | FileEdit) -> bool:
    return isinstance(edit, FileEdit) and edit.creates


def _text_edit(
    edit: DocumentEdit | FileEdit, index: LineIndex, encoding: types.PositionEncodingKind | str
) -> types.TextEdit:
    start, end = index.position(edit.start, encoding), index.position(edit.end, encoding)
    return types.TextEdit(types.Range(start, end), edit.text)


def _plain_changes(changes: Iterable[_Change]) -> dict[str, list[types.TextEdit]]:
    """Return the changes by URI, for clients without document changes."""
    by_uri: dict[str, list[types.TextEdit]] = {}
    for change in changes:
        by_uri.setdefault(change.uri, []).append(change.edit)
    return by_uri


def _document_changes(changes: Iterable[_Change]) -> list[DocumentChange]:
    """Return the changes with versions; several edits of one document are one change of it."""
    edits: dict[str, types.TextDocumentEdit] = {}
    document_changes: list[DocumentChange] = []
    for change in changes:
        if change.creates:
            # An empty file that appeared meanwhile is filled; one with text stays unchanged.
            options = types.CreateFileOptions(overwrite=False)
            creation = types.CreateFile(change.uri, options=options)
            document_changes.append(creation)
        if change.uri not in edits:
            identifier = types.OptionalVersionedTextDocumentIdentifier(change.uri, change.version)
            edits[change.uri] = types.TextDocumentEdit(identifier, [])
            document_changes.append(edits[change.uri])
        edits[change.uri].edits = [*edits[change.uri].edits, change.edit]
    return document_changes
