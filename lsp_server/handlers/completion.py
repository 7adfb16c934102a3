"""`textDocument/completion`, for clients that do not show inline completions."""

from __future__ import annotations

import re

from lsprotocol import types

from fim.snapshot import Snapshot, Suggestion, Trigger
from lsp_server.session.line_index import Encoding, LineIndex
from lsp_server.session.protocol import ACCEPTED_COMMAND
from lsp_server.session.server import StarcoderServer

_MAX_LABEL_CHARACTERS = 60
_BLANK_LABEL = "(white space)"
_LINE_END = re.compile(r"[\r\n\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_VISIBLE = re.compile(r"[^\s\x00-\x1f\x7f-\xa0\u200b-\u200f\u2060\ufeff]")


async def completion(
    server: StarcoderServer, params: types.CompletionParams
) -> types.CompletionList:
    """Return the suggestion as the first item of the completion list."""
    document = server.documents.document(params.text_document.uri)
    snapshot = server.documents.snapshot(params.text_document.uri, params.position)
    index = document.index  # of the text now, also if the user types meanwhile
    result = await server.completions.complete(snapshot, Trigger.AUTOMATIC)
    items = [
        to_item(suggestion, snapshot, index, document.encoding) for suggestion in result.suggestions
    ]
    # The list is incomplete because the next key may change the suggestion: the client asks again.
    return types.CompletionList(is_incomplete=True, items=items)


def to_item(
    suggestion: Suggestion, snapshot: Snapshot, index: LineIndex, encoding: Encoding
) -> types.CompletionItem:
    """Return an item that starts at the half-typed word, because clients filter by that word."""
    word = _word_before(snapshot)
    text = word + suggestion.text
    return types.CompletionItem(
        label=_label(text),
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
                index.position(suggestion.replace_start - len(word), encoding),
                index.position(suggestion.replace_end, encoding),
            ),
            text,
        ),
        command=types.Command("Accepted", ACCEPTED_COMMAND, arguments=[suggestion.id]),
    )


def _label(text: str) -> str:
    """Return the first line that shows something; clients drop items without a label."""
    lines = (line.strip() for line in _LINE_END.split(text))
    first = next((line for line in lines if _VISIBLE.search(line)), "")
    return first[:_MAX_LABEL_CHARACTERS] or _BLANK_LABEL


def _word_before(snapshot: Snapshot) -> str:
    line = snapshot.line_before
    start = len(line)
    while start > 0 and (line[start - 1].isalnum() or line[start - 1] == "_"):
        start -= 1
    return line[start:]
