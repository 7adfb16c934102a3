"""Tasks on the code under the cursor: `starcoder/task` for clients that preview, a command for all.

Both say what is to be done and where; the one is answered with the edit, the other has the client
apply it.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Literal

from lsprotocol import types
from pygls.exceptions import JsonRpcException

from chat.asker import OnPartial
from chat.tasks.document import FillRequest, document
from chat.tasks.explain import commit_message, explain
from chat.tasks.rewriting import edit, fix
from chat.tasks.target import Proposal, Target, WorkspaceFiles
from chat.tasks.write_tests import write_tests
from engine.errors import RequestError, StarcoderError
from fim.request.model import FimModel
from fim.snapshot import Snapshot
from lsp_server.handlers.chat import path_of
from lsp_server.handlers.custom_requests import Params, ProgressToken, Span, plain, register
from lsp_server.handlers.new_files import NewFiles
from lsp_server.handlers.workspace_edits import (
    Unsupported,
    makes_files,
    open_document,
    workspace_edit,
)
from lsp_server.session.server import StarcoderServer

TASK_COMMAND = "starcoder.task"

TaskName = Literal["tests", "explain", "document", "fix", "edit"]

_DOING = {
    "tests": "writing tests",
    "explain": "explaining",
    "document": "documenting",
    "fix": "fixing",
    "edit": "editing",
}
_DIFF_CHARACTERS = 200_000


class Task(Params):
    """What to do, and where."""

    task: TaskName
    uri: str
    range: Span
    instruction: str = ""
    problems: tuple[str, ...] = ()
    """Messages of the diagnostics there."""
    partial_result_token: ProgressToken | None = None
    """Where drafts of the answer go while it is written."""


class Staged(Params):
    """A repository with staged changes."""

    uri: str | None = None
    """A file or folder in it; the workspace if it is not given."""
    instruction: str = ""


def register_tasks(server: StarcoderServer) -> None:
    """Register the requests and the command."""
    register(server, "starcoder/task", Task, _answer)
    register(server, "starcoder/commitMessage", Staged, _message)
    server.command(TASK_COMMAND)(run_command)


async def _answer(server: StarcoderServer, task: Task) -> dict[str, Any]:
    proposal, files = await perform(server, task)
    return {
        "title": proposal.title,
        "note": proposal.note,
        "edit": _edit(server, proposal, files) if proposal.edits else None,
    }


async def run_command(server: StarcoderServer, *arguments: Any) -> dict[str, Any]:
    """Do a task and have the client apply it, with progress that can be cancelled."""
    task = _checked(arguments)
    try:
        async with server.status.progress(f"StarCoder: {_DOING[task.task]}") as cancelled:
            proposal, files = await _unless(cancelled, perform(server, task))
        applied = bool(proposal.edits) and await _applied(server, proposal, files)
    except asyncio.CancelledError:
        return {"applied": False, "note": "cancelled"}
    except StarcoderError as error:
        server.window_show_message(
            types.ShowMessageParams(types.MessageType.Warning, error.user_message)
        )
        return {"applied": False, "note": error.user_message}
    if proposal.note:
        server.window_show_message(types.ShowMessageParams(types.MessageType.Info, proposal.note))
    return {"applied": applied, "note": proposal.note}


async def _applied(server: StarcoderServer, proposal: Proposal, files: WorkspaceFiles) -> bool:
    """Have the client make the edit; False where it or its user would not."""
    new_files = None
    if any(one.creates for one in proposal.edits) and not makes_files(server):
        new_files = NewFiles(proposal)
        try:
            proposal = await asyncio.to_thread(new_files.make)
        except OSError as error:
            raise RequestError(f"{error.filename} cannot be made: {error.strerror}.") from None
    params = types.ApplyWorkspaceEditParams(_edit(server, proposal, files), label=proposal.title)
    applied = False
    try:
        applied = (await server.workspace_apply_edit_async(params)).applied
    finally:
        if new_files is not None and not applied:
            await asyncio.to_thread(new_files.take_back)
    return applied


def _checked(arguments: tuple[Any, ...]) -> Task:
    try:
        return Task.model_validate(plain(arguments[0]))
    except (IndexError, ValueError) as error:
        raise JsonRpcException(f"{TASK_COMMAND} cannot be run: {error}", -32602) from None


async def _unless(cancelled: asyncio.Future[Any] | None, work: Any) -> Any:
    """Await work, but cancel it when the user cancels its progress."""
    task = asyncio.ensure_future(work)
    if cancelled is not None:
        cancelled.add_done_callback(lambda _: task.cancel())
    return await task


async def perform(server: StarcoderServer, task: Task) -> tuple[Proposal, WorkspaceFiles]:
    """Return what a task proposes, and the files as they were read for it."""
    target, files = target_of(server, task), files_of(server, path_of(task.uri))
    asker = server.asker(_drafts(server, task.partial_result_token))
    if task.task == "tests":
        return await write_tests(target, asker, files), files
    if task.task == "explain":
        return await explain(target, asker), files
    if task.task == "fix":
        return await fix(target, asker), files
    if task.task == "edit":
        return await edit(target, asker), files

    async def fill_in(hole: FillRequest) -> str:
        text = hole.prefix + hole.suffix
        snapshot = Snapshot(task.uri, hole.language, text, len(hole.prefix))
        return await FimModel(server.engine, server.settings.fim).fill(snapshot, hole.stop)

    return await document(target, fill_in), files


def _drafts(server: StarcoderServer, token: ProgressToken | None) -> OnPartial:
    """Return what shows the client how an answer grows; each attempt begins anew."""

    def send(piece: str, begins: bool) -> None:
        if token is not None and (piece or begins):
            value = {"text": piece, "begins": begins}
            server.progress(types.ProgressParams(token, value))

    return send


def target_of(server: StarcoderServer, task: Task) -> Target:
    """Return the place that a task means; raises RequestError for a document that is not open."""
    opened = open_document(server, task.uri)
    path = path_of(task.uri)
    if opened is None:
        raise RequestError(f"{path.name} is not open in the editor.")
    return Target(
        path=path,
        language=opened.language_id or "",
        text=opened.source,
        start=opened.offset_at_position(task.range.start.lsp),
        end=opened.offset_at_position(task.range.end.lsp),
        root=root_of(server, path),
        instruction=task.instruction,
        problems=task.problems,
    )


def root_of(server: StarcoderServer, path: Path) -> Path:
    """Return the workspace folder that a file is in; without one, its own folder."""
    folders = [path_of(folder.uri) for folder in server.workspace.folders.values()]
    if server.workspace.root_uri:
        folders.append(path_of(server.workspace.root_uri))
    around = [folder for folder in folders if path.is_relative_to(folder)]
    return max(around, key=lambda folder: len(folder.parts), default=path.parent)


def files_of(server: StarcoderServer, path: Path) -> WorkspaceFiles:
    """Return the files of a file's workspace; those that are open as they are in the editor."""
    texts = {path_of(uri): one.source for uri, one in server.workspace.text_documents.items()}
    return WorkspaceFiles(root_of(server, path), texts.get)


def _edit(
    server: StarcoderServer, proposal: Proposal, files: WorkspaceFiles
) -> types.WorkspaceEdit:
    try:
        return workspace_edit(server, proposal, files)
    except Unsupported:
        name = next(one.path for one in proposal.edits if one.creates)
        raise RequestError(
            f"This editor lets no server make a file. Make {name} empty, and ask again."
        ) from None


async def _message(server: StarcoderServer, params: Staged) -> dict[str, Any]:
    where = params.uri or server.workspace.root_uri
    if not where:
        raise RequestError("No folder is open, so nothing is staged.")
    diff = await staged_diff(path_of(where))
    return {"message": await commit_message(diff, server.asker(), params.instruction)}


async def staged_diff(path: Path) -> str:
    """Return what is staged in a file's repository; raises RequestError where there is none."""
    folder = path if await asyncio.to_thread(path.is_dir) else path.parent
    try:
        process = await asyncio.create_subprocess_exec(
            "git",
            "-C",
            str(folder),
            "diff",
            "--cached",
            "--no-color",
            "--no-ext-diff",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError:
        raise RequestError("git is not installed, or not on the PATH of the editor.") from None
    try:
        out, wrong = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        raise
    if process.returncode != 0:
        raise RequestError(f"git: {wrong.decode(errors='replace').strip().splitlines()[0]}")
    return out.decode("utf-8", "replace")[:_DIFF_CHARACTERS]
