"""Tasks on the code at the cursor.

`starcoder/task` returns the edit, for clients that preview it. The command `starcoder.task` has any
client apply the edit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from lsprotocol import types

from chat.asker import OnPartial, OnStage
from engine.errors import StarcoderError
from lsp_server.session.progress import Progress
from lsp_server.session.protocol import (
    Params,
    ProgressToken,
    RangeParams,
    TaskName,
    parse_params,
)
from lsp_server.session.server import StarcoderServer
from lsp_server.session.tasks import TaskRequest, TaskResult

_ACTIVITIES: dict[TaskName, str] = {
    "tests": "writing tests",
    "explain": "explaining",
    "document": "documenting",
    "fix": "fixing",
    "edit": "editing",
    "translate": "translating",
    "review": "reviewing",
}


class TaskParams(Params):
    """A task, and the code that it works on."""

    task: TaskName
    uri: str
    range: RangeParams
    instruction: str = ""
    problems: tuple[str, ...] = ()
    """Messages of the diagnostics in the range."""
    partial_result_token: ProgressToken | None = None
    """Token under which partial answers are sent."""

    def request(self) -> TaskRequest:
        """Return the request for the session."""
        return TaskRequest(
            self.task, self.uri, self.range.to_lsp(), self.instruction, self.problems
        )


class CommitMessageParams(Params):
    """A repository with staged changes."""

    uri: str | None = None
    """A file or folder in the repository; if None, the first workspace folder with changes."""
    instruction: str = ""


async def propose(server: StarcoderServer, params: TaskParams) -> dict[str, Any]:
    """Return what a task proposes, without applying it."""
    result = await _perform(server, params, _stage_sender(server, params.partial_result_token))
    proposal = result.proposal
    edit = await server.edits.workspace_edit(result) if proposal.edits else None
    return {"title": proposal.title, "note": proposal.note, "edit": edit}


async def run_command(server: StarcoderServer, *arguments: Any) -> dict[str, Any]:
    """Perform a task and have the client apply it, with progress that the user can cancel."""
    params = parse_params(TaskParams, arguments[0] if arguments else None)
    try:
        async with server.status.progress(f"StarCoder: {_ACTIVITIES[params.task]}") as progress:
            send_stage = _stage_sender(server, params.partial_result_token)

            def on_stage(stage: str) -> None:
                send_stage(stage)
                progress.report(stage)

            result = await _run_until_cancelled(_perform(server, params, on_stage), progress)
        proposal = result.proposal
        is_applied = bool(proposal.edits) and await server.edits.apply(result)
    except asyncio.CancelledError:
        return {"applied": False, "note": "cancelled"}
    except StarcoderError as error:
        server.status.show_message(error.user_message, types.MessageType.Warning)
        return {"applied": False, "note": error.user_message}
    if proposal.note:
        server.status.show_message(proposal.note, types.MessageType.Info)
    return {"applied": is_applied, "note": proposal.note}


async def commit_message(server: StarcoderServer, params: CommitMessageParams) -> dict[str, Any]:
    """Return a message for the staged changes."""
    message = await server.tasks.write_commit_message(params.uri, params.instruction)
    return {"message": message}


async def _perform(server: StarcoderServer, params: TaskParams, on_stage: OnStage) -> TaskResult:
    on_partial = _partial_sender(server, params.partial_result_token)
    return await server.tasks.perform(params.request(), on_partial, on_stage)


def _stage_sender(server: StarcoderServer, token: ProgressToken | None) -> OnStage:
    """Return a function that sends what the task does now, under the token of partial answers."""

    def send(stage: str) -> None:
        if token is not None:
            server.progress(types.ProgressParams(token, {"stage": stage}))

    return send


def _partial_sender(server: StarcoderServer, token: ProgressToken | None) -> OnPartial:
    """Return a function that sends partial answers; `begins` marks the start of each attempt."""

    def send(piece: str, begins: bool) -> None:
        if token is not None and (piece or begins):
            value = {"text": piece, "begins": begins}
            server.progress(types.ProgressParams(token, value))

    return send


async def _run_until_cancelled(
    work: Coroutine[Any, Any, TaskResult], progress: Progress
) -> TaskResult:
    """Return the result of `work`, but cancel it when the user cancels its progress."""
    task = asyncio.ensure_future(work)
    progress.on_cancelled(task.cancel)
    return await task
