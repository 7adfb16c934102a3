"""`textDocument/codeAction`: the tasks for the function or class at the cursor."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from lsprotocol import types

from lsp_server.session.protocol import TASK_COMMAND, TaskName
from lsp_server.session.server import StarcoderServer
from syntax.symbols import Symbol, enclosing_symbol

_KINDS: dict[TaskName, str] = {
    "tests": "refactor.rewrite.starcoder.tests",
    "document": "refactor.rewrite.starcoder.document",
    "explain": "refactor.rewrite.starcoder.explain",
    "review": "refactor.rewrite.starcoder.review",
    "fix": types.CodeActionKind.QuickFix.value,
}
OPTIONS = types.CodeActionOptions(code_action_kinds=sorted(set(_KINDS.values())))

MAX_CHARACTERS = 1_000_000
"""Maximum characters of a file that is parsed. Clients ask each time the cursor moves."""


async def code_actions(
    server: StarcoderServer, params: types.CodeActionParams
) -> list[types.CodeAction]:
    """Return the tasks that are possible at the cursor."""
    document = server.documents.document(params.text_document.uri)
    if not server.settings.enabled or len(document.source) > MAX_CHARACTERS:
        return []
    start = document.offset_at_position(params.range.start)
    end = document.offset_at_position(params.range.end)
    symbol = await asyncio.to_thread(
        enclosing_symbol, document.source, document.language_id or "", start, end
    )
    titles = _titles(symbol, params.context.diagnostics)
    actions = [_action(task, title, params) for task, title in titles]
    return [action for action in actions if _is_requested(action, params.context.only)]


def _titles(
    symbol: Symbol | None, diagnostics: Sequence[types.Diagnostic]
) -> list[tuple[TaskName, str]]:
    titles: list[tuple[TaskName, str]] = []
    if diagnostics:
        titles.append(("fix", f"Fix with StarCoder: {diagnostics[0].message[:60]}"))
    if symbol is not None:
        titles += [
            ("tests", f"Write tests for {symbol.name}"),
            ("document", f"Document {symbol.name}"),
            ("explain", f"Explain {symbol.name}"),
            ("review", f"Review {symbol.name}"),
        ]
    return titles


def _is_requested(
    action: types.CodeAction, only: Sequence[types.CodeActionKind | str] | None
) -> bool:
    """Whether the client asked for this kind of action, a kind above it, or all kinds."""
    kind = _kind_name(action.kind)
    requested = [_kind_name(name) for name in only or ()]
    return not requested or any(kind == name or kind.startswith(f"{name}.") for name in requested)


def _kind_name(kind: types.CodeActionKind | str | None) -> str:
    return str(getattr(kind, "value", kind))


def _action(task: TaskName, title: str, params: types.CodeActionParams) -> types.CodeAction:
    diagnostics = list(params.context.diagnostics) if task == "fix" else []
    argument: dict[str, Any] = {
        "task": task,
        "uri": params.text_document.uri,
        "range": {
            "start": _position_payload(params.range.start),
            "end": _position_payload(params.range.end),
        },
        "problems": [diagnostic.message for diagnostic in diagnostics],
    }
    return types.CodeAction(
        title=title,
        kind=_KINDS[task],
        diagnostics=diagnostics or None,
        command=types.Command(title, TASK_COMMAND, arguments=[argument]),
    )


def _position_payload(position: types.Position) -> dict[str, int]:
    return {"line": position.line, "character": position.character}
