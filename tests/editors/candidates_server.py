"""A language server with one candidate for automatic requests and three for explicit requests.

Tests of switching between candidates run it as `python -m tests.editors.candidates_server FILE`.
It writes each accepted candidate to a line of FILE.
"""

import sys
from pathlib import Path
from typing import Any

from lsprotocol import types
from pygls.lsp.server import LanguageServer

CANDIDATES = ("first + 1", "second + 2", "third + 3")

server = LanguageServer("candidates", "1")


@server.feature(types.INITIALIZED)
def initialized(_: types.InitializedParams) -> None:
    status = {
        "state": "ready",
        "message": "",
        "model": "candidates",
        "device": "cpu",
        "demo": False,
        "why": "",
        "suggested": False,
        "lastAt": 0,
        "lastMs": 0,
        "tokensPerSecond": 0,
    }
    server.protocol.notify("starcoder/status", status)


@server.feature(types.TEXT_DOCUMENT_INLINE_COMPLETION, types.InlineCompletionOptions())
def complete(params: types.InlineCompletionParams) -> types.InlineCompletionList:
    document = server.workspace.get_text_document(params.text_document.uri)
    before = document.lines[params.position.line][: params.position.character]
    if not before.endswith("= "):
        return types.InlineCompletionList(items=[])
    is_explicit = params.context.trigger_kind == types.InlineCompletionTriggerKind.Invoked
    cursor = types.Range(params.position, params.position)
    return types.InlineCompletionList(
        items=[
            types.InlineCompletionItem(
                text,
                range=cursor,
                command=types.Command("Accepted", "starcoder.accepted", arguments=[text]),
            )
            for text in (CANDIDATES if is_explicit else CANDIDATES[:1])
        ]
    )


@server.command("starcoder.accepted")
def accepted(*arguments: Any) -> None:
    with Path(sys.argv[1]).open("a", encoding="utf-8") as file:
        file.write(f"{arguments[0]}\n")


if __name__ == "__main__":
    server.start_io()
