"""The texts of the open documents at one moment, while a task runs and the user types on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from chat.tasks.target import DocumentEdit, FileEdit
from engine.errors import RequestError


class OpenTexts:
    """The texts of the open documents, by URI and by file. Creating one reads links on disk."""

    def __init__(self, texts: Mapping[str, str], files: Mapping[str, Path]) -> None:
        """`texts` has the texts by URI, `files` the paths of those documents that are files."""
        self.texts = texts
        # A file that is open through a symbolic link has two paths.
        self._uris = {_real_path(file): uri for uri, file in files.items()}
        self._uris |= {file: uri for uri, file in files.items()}

    def uri_of_file(self, path: Path) -> str | None:
        """Return the URI under which a file is open, None if it is closed. Reads links on disk."""
        return self._uris.get(path) or self._uris.get(_real_path(path))

    def text_of_file(self, path: Path) -> str | None:
        """Return the text of an open file, None if it is closed. Reads links on disk."""
        uri = self.uri_of_file(path)
        return None if uri is None else self.texts[uri]

    def edit_of_document(self, edit: DocumentEdit | FileEdit) -> DocumentEdit | FileEdit:
        """Return an edit of an open file as an edit of its document; other edits stay the same."""
        uri = None if isinstance(edit, DocumentEdit) else self.uri_of_file(edit.path)
        return edit if uri is None else DocumentEdit(uri, edit.start, edit.end, edit.text)


def moved_edit(edit: DocumentEdit, before: str, now: str) -> DocumentEdit:
    """Return an edit of a text as an edit of the text that the user made of it meanwhile.

    Raises RequestError if the user changed the text in the range of the edit.
    """
    if before == now:
        return edit
    if now.startswith(before[: edit.end]):
        if _line_after(before, edit.end) == _line_after(now, edit.end):
            return edit
    elif now.endswith(before[edit.start :]):
        start = edit.start + len(now) - len(before)
        if _line_before(before, edit.start) == _line_before(now, start):
            return DocumentEdit(edit.uri, start, start + edit.end - edit.start, edit.text)
    raise RequestError(
        "The code was changed while the model wrote. Nothing is changed; start the task again."
    )


def _line_before(text: str, offset: int) -> str:
    """Return the part of a line before an offset."""
    return text[text.rfind("\n", 0, offset) + 1 : offset]


def _line_after(text: str, offset: int) -> str:
    """Return the part of a line after an offset."""
    end = text.find("\n", offset)
    return text[offset:] if end < 0 else text[offset:end]


def _real_path(path: Path) -> Path:
    return Path(os.path.realpath(path))
