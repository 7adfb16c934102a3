"""`textDocument/inlineCompletion` (LSP 3.18), and the editor's word that one was accepted."""

from __future__ import annotations

from typing import Any

from lsprotocol import types

from fim.snapshot import SelectedText, Suggestion, Trigger
from lsp_server.session.documents import Document, LineIndex
from lsp_server.session.server import StarcoderServer

ACCEPTED_COMMAND = "starcoder.accepted"


def register_inline_completion(server: StarcoderServer) -> None:
    """Register the request and the command that reports acceptance."""
    # Without options pygls does not advertise the feature.
    options = types.InlineCompletionOptions()
    server.feature(types.TEXT_DOCUMENT_INLINE_COMPLETION, options)(inline_completion)
    server.command(ACCEPTED_COMMAND)(accepted)


async def inline_completion(
    server: StarcoderServer, params: types.InlineCompletionParams
) -> types.InlineCompletionList:
    """Answer with ghost text."""
    document = server.document(params.text_document.uri)
    selected = _selected(params.context.selected_completion_info, document)
    invoked = params.context.trigger_kind == types.InlineCompletionTriggerKind.Invoked
    trigger = Trigger.INVOKED if invoked else Trigger.AUTOMATIC
    snapshot, result = await server.complete(
        params.text_document.uri, params.position, trigger, selected
    )
    index = document.index_of(snapshot.text)
    return types.InlineCompletionList(
        items=[_item(one, index, document.encoding) for one in result.suggestions]
    )


_PARTS = ("all", "word", "line")


def accepted(server: StarcoderServer, *arguments: Any) -> None:
    """Take note that a suggestion was accepted; a second argument names the part of it."""
    name = str(arguments[0]) if arguments else ""
    part = arguments[1] if len(arguments) > 1 and arguments[1] in _PARTS else "all"
    server.accepted(name, part)


def _selected(info: types.SelectedCompletionInfo | None, document: Document) -> SelectedText | None:
    if info is None:
        return None
    start = document.offset_at_position(info.range.start)
    return SelectedText(start, document.offset_at_position(info.range.end), info.text)


def _item(
    suggestion: Suggestion, index: LineIndex, encoding: types.PositionEncodingKind | str
) -> types.InlineCompletionItem:
    return types.InlineCompletionItem(
        insert_text=suggestion.text,
        range=types.Range(
            index.position(suggestion.replace_start, encoding),
            index.position(suggestion.replace_end, encoding),
        ),
        command=types.Command("Accepted", ACCEPTED_COMMAND, arguments=[suggestion.id]),
    )
