"""What a chat message attaches: what the client lists, mentioned files, and code at the cursor.

- `@name` in the text attaches this file of the workspace. The word stays in the text, and a word
  that names no file is ordinary text.
- A slash command without attachments works on the selection or the function at the cursor.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from chat.attachments import Attachment, code_blocks
from chat.slash import SlashMessage, parse_slash
from chat.tasks.target import WorkspaceFiles
from engine.errors import RequestError
from lsp_server.session.attachments import AttachmentParams, read_attachments
from lsp_server.session.documents import Document
from lsp_server.session.line_index import LineIndex
from lsp_server.session.protocol import Params, PositionParams, RangeParams
from lsp_server.session.uris import folder_of, uri_of
from lsp_server.session.workspace_documents import WorkspaceDocuments
from syntax.symbols import enclosing_symbol
from workspace.files import regular_file_stat

_MENTION = re.compile(r"""(?<![\w@/.])@(?:"([^"\n]+)"|([^\s@"'`<>()]+))""")
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
_PUNCTUATION = ".,;:!?]}*_"
_MAX_MENTIONS = 20

Source = Literal["attached", "mentioned", "cursor"]


class DraftParams(Params):
    """A message that the user writes."""

    text: str = ""
    attachments: tuple[AttachmentParams, ...] = ()
    uri: str | None = None
    """The document that the user works on, for a slash command without attachments."""
    range: RangeParams | None = None
    """The selection or cursor in this document."""


@dataclass(frozen=True, slots=True)
class FoundAttachment:
    """An attachment of a message, and why it is one."""

    attachment: Attachment
    source: Source
    mention: str = ""
    """The word in the text that names the file, for `mentioned`."""


async def find_attachments(
    documents: WorkspaceDocuments, draft: DraftParams, may_show: Callable[[Path], bool]
) -> list[FoundAttachment]:
    """Return everything that a message attaches.

    `may_show` returns whether a file may be attached because it is mentioned; it blocks. Raises
    RequestError for an attachment of the client that cannot be read.
    """
    explicit = await read_attachments(documents, draft.attachments)
    result = [FoundAttachment(each, "attached") for each in explicit]
    files = {folder_of(each.uri) for each in draft.attachments if each.uri is not None}
    for mention, path in await asyncio.to_thread(_mentioned, documents, draft.text, may_show):
        if path not in files:
            files.add(path)
            params = AttachmentParams(kind="file", uri=uri_of(path))
            result += [
                FoundAttachment(each, "mentioned", mention)
                for each in await _read_if_possible(documents, params)
            ]
    slash = None if result else _slash_of(draft.text)
    if slash is not None and not code_blocks(slash.rest):
        code = await _code_at_cursor(documents, draft)
        if code is not None:
            read = await _read_if_possible(documents, code)
            result += [FoundAttachment(each, "cursor") for each in read]
    return result


def bare_command(text: str) -> str | None:
    """Return the name of a slash command that has no words of its own, None for other messages."""
    slash = _slash_of(text)
    return None if slash is None or slash.rest else slash.command.name


async def _read_if_possible(
    documents: WorkspaceDocuments, params: AttachmentParams
) -> list[Attachment]:
    try:
        return await read_attachments(documents, [params])
    except RequestError:
        return []  # the user did not attach it: the word stays a word


def _slash_of(text: str) -> SlashMessage | None:
    try:
        return parse_slash(text)
    except RequestError:
        return None  # `Conversations.send` reports it


async def _code_at_cursor(
    documents: WorkspaceDocuments, draft: DraftParams
) -> AttachmentParams | None:
    """Return the selected code, or the function or class at the cursor; None without either."""
    document = None if draft.uri is None else documents.find_open(draft.uri)
    if document is None or draft.range is None:
        return None
    start = document.offset_at_position(draft.range.start.to_lsp())
    end = document.offset_at_position(draft.range.end.to_lsp())
    text = document.source
    if text[start:end].strip():
        return AttachmentParams(kind="selection", uri=document.uri, range=draft.range)
    language = document.language_id or ""
    symbol = await asyncio.to_thread(enclosing_symbol, text, language, start)
    if symbol is None:
        return None
    first = text.rfind("\n", 0, symbol.start) + 1
    range_ = _range_of(document, text, first, symbol.end)
    return AttachmentParams(kind="selection", uri=document.uri, range=range_)


def _range_of(document: Document, text: str, start: int, end: int) -> RangeParams:
    """Return a range of a text that the document has or had, in the client's encoding."""
    index = LineIndex(text)
    positions = (index.position(offset, document.encoding) for offset in (start, end))
    first, last = (PositionParams(line=each.line, character=each.character) for each in positions)
    return RangeParams(start=first, end=last)


def _mentioned(
    documents: WorkspaceDocuments, text: str, may_show: Callable[[Path], bool]
) -> list[tuple[str, Path]]:
    """Return the mentions of existing files in a text, with these files. Blocks."""
    mentions = list(_MENTION.finditer(_CODE.sub(" ", text)))[:_MAX_MENTIONS]
    folders = [path for path in map(folder_of, documents.folder_uris()) if path]
    files = [WorkspaceFiles(folder) for folder in folders] if mentions else []
    result = []
    for match in mentions:
        quoted, word = match.groups()
        for name in [quoted] if quoted else [word, word.rstrip(_PUNCTUATION)]:
            path = _file_named(name, files)
            if path is not None and may_show(path):
                result.append((f'@"{name}"' if quoted else f"@{name}", path))
                break
    return result


def _file_named(name: str, files: Sequence[WorkspaceFiles]) -> Path | None:
    """Return the file with a path in a workspace folder, or the only one with a name there."""
    name = name.replace("\\", "/")
    for folder in files:
        path = folder.root / name
        if regular_file_stat(path, inside=folder.root) is not None:
            return path
    matches = [path for folder in files for path in folder.paths() if path.name == name]
    return matches[0] if len(matches) == 1 else None
