"""`textDocument/codeAction`: what can be done with the function or class under the cursor."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from lsprotocol import types

from lsp_server.handlers.tasks import TASK_COMMAND, TaskName
from lsp_server.session.server import StarcoderServer
from syntax.symbols import Symbol, enclosing_symbol

_KINDS: dict[TaskName, str] = {
    "tests": "refactor.rewrite.starcoder.tests",
    "document": "refactor.rewrite.starcoder.document",
    "explain": "refactor.rewrite.starcoder.explain",
    "fix": types.CodeActionKind.QuickFix.value,
}

MAX_CHARACTERS = 1_000_000
"""In a longer file no function is looked for: a client asks with every move of the cursor."""


def register_code_actions(server: StarcoderServer) -> None:
    """Register the request."""
    options = types.CodeActionOptions(code_action_kinds=sorted(set(_KINDS.values())))
    server.feature(types.TEXT_DOCUMENT_CODE_ACTION, options)(code_actions)


async def code_actions(
    server: StarcoderServer, params: types.CodeActionParams
) -> list[types.CodeAction]:
    """Answer with the tasks that make sense there."""
    document = server.document(params.text_document.uri)
    if not server.settings.enabled or len(document.source) > MAX_CHARACTERS:
        return []
    start = document.offset_at_position(params.range.start)
    end = document.offset_at_position(params.range.end)
    symbol = await asyncio.to_thread(
        enclosing_symbol, document.source, document.language_id or "", start, end
    )
    actions = [
        _action(task, title, params) for task, title in _offers(symbol, params.context.diagnostics)
    ]
    return [one for one in actions if _wanted(one, params.context.only)]


def _offers(
    symbol: Symbol | None, diagnostics: Sequence[types.Diagnostic]
) -> list[tuple[TaskName, str]]:
    offers: list[tuple[TaskName, str]] = []
    if diagnostics:
        offers.append(("fix", f"Fix with StarCoder: {diagnostics[0].message[:60]}"))
    if symbol is not None:
        offers += [
            ("tests", f"Write tests for {symbol.name}"),
            ("document", f"Document {symbol.name}"),
            ("explain", f"Explain {symbol.name}"),
        ]
    return offers


def _wanted(action: types.CodeAction, only: Sequence[types.CodeActionKind | str] | None) -> bool:
    kind = str(getattr(action.kind, "value", action.kind))
    wanted = [str(getattr(one, "value", one)) for one in only or ()]
    return not wanted or any(kind == one or kind.startswith(f"{one}.") for one in wanted)


def _action(task: TaskName, title: str, params: types.CodeActionParams) -> types.CodeAction:
    found = list(params.context.diagnostics) if task == "fix" else []
    argument: dict[str, Any] = {
        "task": task,
        "uri": params.text_document.uri,
        "range": {
            "start": _point(params.range.start),
            "end": _point(params.range.end),
        },
        "problems": [one.message for one in found],
    }
    return types.CodeAction(
        title=title,
        kind=_KINDS[task],
        diagnostics=found or None,
        command=types.Command(title, TASK_COMMAND, arguments=[argument]),
    )


def _point(position: types.Position) -> dict[str, int]:
    return {"line": position.line, "character": position.character}
