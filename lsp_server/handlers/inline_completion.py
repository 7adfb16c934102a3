"""`textDocument/inlineCompletion` (LSP 3.18), and the command that reports acceptance."""

from __future__ import annotations

from typing import Any

from lsprotocol import types

from fim.snapshot import SelectedText, Suggestion, Trigger
from lsp_server.session.documents import Document
from lsp_server.session.line_index import Encoding, LineIndex
from lsp_server.session.protocol import ACCEPTED_COMMAND
from lsp_server.session.server import StarcoderServer

_PARTS = ("all", "word", "line")


async def inline_completion(
    server: StarcoderServer, params: types.InlineCompletionParams
) -> types.InlineCompletionList:
    """Return suggestions as ghost text."""
    document = server.documents.document(params.text_document.uri)
    snapshot = server.documents.snapshot(params.text_document.uri, params.position)
    index = document.index  # of the text now, also if the user types meanwhile
    selected = _selected_text(params.context.selected_completion_info, document)
    is_invoked = params.context.trigger_kind == types.InlineCompletionTriggerKind.Invoked
    trigger = Trigger.INVOKED if is_invoked else Trigger.AUTOMATIC
    result = await server.completions.complete(snapshot, trigger, selected)
    return types.InlineCompletionList(
        items=[to_item(suggestion, index, document.encoding) for suggestion in result.suggestions]
    )


def accepted(server: StarcoderServer, *arguments: Any) -> None:
    """Record that a suggestion was accepted; the second argument names the accepted part."""
    suggestion_id = str(arguments[0]) if arguments else ""
    part = arguments[1] if len(arguments) > 1 and arguments[1] in _PARTS else "all"
    server.completions.record_acceptance(suggestion_id, part)


def _selected_text(
    info: types.SelectedCompletionInfo | None, document: Document
) -> SelectedText | None:
    if info is None:
        return None
    start = document.offset_at_position(info.range.start)
    return SelectedText(start, document.offset_at_position(info.range.end), info.text)


def to_item(
    suggestion: Suggestion, index: LineIndex, encoding: Encoding
) -> types.InlineCompletionItem:
    """Return a suggestion as LSP defines it."""
    return types.InlineCompletionItem(
        insert_text=suggestion.text,
        range=types.Range(
            index.position(suggestion.replace_start, encoding),
            index.position(suggestion.replace_end, encoding),
        ),
        command=types.Command("Accepted", ACCEPTED_COMMAND, arguments=[suggestion.id]),
    )
