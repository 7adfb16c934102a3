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
    if now.startswith(before[: edit.end]) and _keeps_line(edit, before, now):
        return edit
    growth = len(now) - len(before)
    if now.endswith(before[edit.start :]) and edit.start + growth >= 0:
        return DocumentEdit(edit.uri, edit.start + growth, edit.end + growth, edit.text)
    raise RequestError(
        "The code was changed while the model wrote. Nothing is changed; start the task again."
    )


def _keeps_line(edit: DocumentEdit, before: str, now: str) -> bool:
    """Whether the rest of the line on which the edit ends is still the same."""
    return _rest_of_line(before, edit.end) == _rest_of_line(now, edit.end)


def _rest_of_line(text: str, start: int) -> str:
    end = text.find("\n", start)
    return text[start:] if end < 0 else text[start:end]


def _real_path(path: Path) -> Path:
    return Path(os.path.realpath(path))
