"""Tasks on the code of open documents. A task returns a proposal and changes nothing itself."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path

from lsprotocol import types

from chat.asker import Asker, OnPartial, OnStage
from chat.tasks.checking.checking import CheckSettings
from chat.tasks.document import FillRequest, document
from chat.tasks.explain import commit_message, explain, review, translate
from chat.tasks.rewriting import edit, fix
from chat.tasks.target import Proposal, Target, WorkspaceFiles
from chat.tasks.write_tests import write_tests
from engine.errors import RequestError
from fim.request.model import FimModel
from fim.snapshot import Snapshot
from lsp_server.session.chat_session import ChatSession
from lsp_server.session.consent import Consent
from lsp_server.session.engine_session import EngineSession
from lsp_server.session.exclusions import Exclusions
from lsp_server.session.open_texts import OpenTexts
from lsp_server.session.protocol import TaskName
from lsp_server.session.staged_changes import read_staged_diff
from lsp_server.session.workspace_documents import WorkspaceDocuments
from lsp_server.settings import Settings


@dataclass(frozen=True, slots=True)
class TaskRequest:
    """A task, and the code that it works on."""

    name: TaskName
    uri: str
    range: types.Range
    instruction: str = ""
    problems: tuple[str, ...] = ()
    """Messages of the diagnostics in the range."""


@dataclass(frozen=True, slots=True)
class TaskResult:
    """A proposal and the texts that its offsets refer to."""

    proposal: Proposal
    """The proposal. Its edits of open files name their documents."""
    texts: OpenTexts
    files: WorkspaceFiles


class TaskSession:
    """Performs tasks for one client."""

    def __init__(
        self,
        settings: Settings,
        engine: EngineSession,
        chat: ChatSession,
        documents: WorkspaceDocuments,
        consent: Consent,
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._chat = chat
        self._documents = documents
        self._consent = consent

    def apply_settings(self, settings: Settings) -> None:
        """Use changed settings from the next task on."""
        self._settings = settings

    async def perform(
        self, request: TaskRequest, on_partial: OnPartial, on_stage: OnStage
    ) -> TaskResult:
        """Return what a task proposes. Raises RequestError if the document is not open."""
        target = self._target(request)
        texts = await self._documents.open_texts()
        files = self._files_of(target, texts)
        asker = self._chat.streaming_asker(on_partial)
        proposal = await self._propose(request.name, target, files, asker, on_stage)
        edits = [await asyncio.to_thread(texts.edit_of_document, edit) for edit in proposal.edits]
        return TaskResult(replace(proposal, edits=tuple(edits)), texts, files)

    async def _propose(
        self,
        name: TaskName,
        target: Target,
        files: WorkspaceFiles,
        asker: Asker,
        on_stage: OnStage,
    ) -> Proposal:
        async def fill(gap: FillRequest) -> str:
            text = gap.prefix + gap.suffix
            cells = self._documents.cells_before(target.uri)
            snapshot = Snapshot(target.uri, gap.language, text, len(gap.prefix), cells=cells)
            model = FimModel(self._engine.current, self._settings.fim)
            return await model.fill(snapshot, gap.stop, needs_suffix=True)

        match name:
            case "tests":
                check = CheckSettings(self._consent.may_run)
                return await write_tests(target, asker, files, check=check, on_stage=on_stage)
            case "explain":
                return await explain(target, asker)
            case "review":
                return await review(target, asker)
            case "translate":
                return await translate(target, asker)
            case "fix":
                return await fix(target, asker)
            case "edit":
                return await edit(target, asker)
            case "document":
                return await document(target, fill)

    def _files_of(self, target: Target, texts: OpenTexts) -> WorkspaceFiles:
        """Return the files of the target's workspace folder, or of its own folder."""
        if target.path is None:
            return WorkspaceFiles(Path(), texts.text_of_file)
        exclusions = Exclusions(self._settings.exclude, folder_uris=self._documents.folder_uris)
        folder = self._documents.folder_of(target.path)
        return WorkspaceFiles(
            folder or target.path.parent, texts.text_of_file, folder, exclusions.allows
        )

    def _target(self, request: TaskRequest) -> Target:
        opened = self._documents.document(request.uri)
        path = self._documents.file_of(opened)
        return Target(
            uri=opened.uri,
            path=path,
            language=opened.language_id or "",
            text=opened.source,
            start=opened.offset_at_position(request.range.start),
            end=opened.offset_at_position(request.range.end),
            instruction=request.instruction,
            problems=request.problems,
            why_no_path="" if path is not None else self._documents.why_no_file(opened),
        )

    async def write_commit_message(self, uri: str | None, instruction: str) -> str:
        """Return a message for the staged changes in the repository of a file or folder.

        `uri` is None for the first workspace folder with staged changes. Raises RequestError if
        nothing is staged or git may not run.
        """
        uris = [uri] if uri else self._documents.folder_uris()
        if not uris:
            raise RequestError("No folder is open, so there are no staged changes.")
        if not self._settings.git:
            raise RequestError(
                "git does not run here: starcoder.git is off, or the workspace is not trusted."
            )
        diff = await read_staged_diff(uris)
        return await commit_message(diff, self._chat.asker, instruction)
