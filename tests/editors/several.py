"""A language server with one answer when asked by itself and three when asked by hand.

For tests of how an editor goes from one to the next. Run as `python -m tests.editors.several FILE`;
what is accepted is written to the file, a line each.
"""

import sys
from pathlib import Path
from typing import Any

from lsprotocol import types
from pygls.lsp.server import LanguageServer

CANDIDATES = ("first + 1", "second + 2", "third + 3")

server = LanguageServer("several", "1")


@server.feature(types.INITIALIZED)
def initialized(_: types.InitializedParams) -> None:
    status = {
        "state": "ready",
        "message": "",
        "model": "several",
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
    invoked = params.context.trigger_kind == types.InlineCompletionTriggerKind.Invoked
    here = types.Range(params.position, params.position)
    return types.InlineCompletionList(
        items=[
            types.InlineCompletionItem(
                text,
                range=here,
                command=types.Command("Accepted", "starcoder.accepted", arguments=[text]),
            )
            for text in (CANDIDATES if invoked else CANDIDATES[:1])
        ]
    )


@server.command("starcoder.accepted")
def accepted(*arguments: Any) -> None:
    with Path(sys.argv[1]).open("a", encoding="utf-8") as file:
        file.write(f"{arguments[0]}\n")


if __name__ == "__main__":
    server.start_io()
