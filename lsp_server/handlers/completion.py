"""`textDocument/completion`, for clients that do not show inline completions."""

from __future__ import annotations

from lsprotocol import types

from fim.snapshot import Snapshot, Suggestion, Trigger
from lsp_server.session.documents import Document
from lsp_server.session.protocol import ACCEPTED_COMMAND
from lsp_server.session.server import StarcoderServer

_MAX_LABEL_CHARACTERS = 60


async def completion(
    server: StarcoderServer, params: types.CompletionParams
) -> types.CompletionList:
    """Return the suggestion as the first item of the completion list."""
    document = server.documents.document(params.text_document.uri)
    snapshot = server.documents.snapshot(params.text_document.uri, params.position)
    result = await server.completions.complete(snapshot, Trigger.AUTOMATIC)
    items = [to_item(suggestion, snapshot, document) for suggestion in result.suggestions]
    # The list is incomplete because the next key may change the suggestion: the client asks again.
    return types.CompletionList(is_incomplete=True, items=items)


def to_item(suggestion: Suggestion, snapshot: Snapshot, document: Document) -> types.CompletionItem:
    """Return an item that starts at the half-typed word, because clients filter by that word."""
    word = _word_before(snapshot)
    index = document.index_of(snapshot.text)
    text = word + suggestion.text
    first_line = text.splitlines()[0].strip()
    return types.CompletionItem(
        label=first_line[:_MAX_LABEL_CHARACTERS],
        kind=types.CompletionItemKind.Snippet,
        detail="StarCoder",
        documentation=text,
        preselect=True,
        sort_text="\x00",
        filter_text=word or text,
        insert_text_format=types.InsertTextFormat.PlainText,
        insert_text_mode=types.InsertTextMode.AsIs,
        text_edit=types.TextEdit(
            types.Range(
                index.position(suggestion.replace_start - len(word), document.encoding),
                index.position(suggestion.replace_end, document.encoding),
            ),
            text,
        ),
        command=types.Command("Accepted", ACCEPTED_COMMAND, arguments=[suggestion.id]),
    )


def _word_before(snapshot: Snapshot) -> str:
    line = snapshot.line_before
    start = len(line)
    while start > 0 and (line[start - 1].isalnum() or line[start - 1] == "_"):
        start -= 1
    return line[start:]
