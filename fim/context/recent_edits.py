"""The recent edits of the documents of a project, for prompts."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Sequence
from itertools import islice

from fim.context.edit_history import EditHistory, LineEdit
from fim.context.files import MAX_BYTES, SourceFiles
from fim.context.open_files import OpenFile
from fim.context.words import words
from fim.memory.masking import mask
from fim.prompt.window import unix_lines
from fim.snapshot import Edit, Snapshot

MAX_EDITS = 8
"""Maximum number of edits for a prompt."""
MAX_CLOSED = 20
"""Maximum number of closed documents whose edits are kept."""
_MAX_COMPARED = 64
"""Maximum number of edits that are compared with the text at the cursor, from the newest one."""
_MIN_SHARED_WORDS = 2
_NEAR_CHARACTERS = 1500
"""Maximum number of characters before the cursor with which edits are compared."""
_SHORT_EDIT_WORDS = 8
"""Number of words that is added to those of each edit, so that a short one is not preferred."""
_MAX_LINES = 30
"""Maximum lines of an edit, before or after it. A larger one was pasted, moved or reformatted."""
_MAX_CHARACTERS = 2_000
_CONTEXT_LINES = 2
"""Number of unchanged lines above and below an edit that are shown with it."""
_NEAR_LINES = 20
"""Number of lines around the cursor whose edits are left out: the prompt contains these lines."""


class RecentEdits:
    """Records edits, and selects those for a prompt. Calls are safe from any thread."""

    def __init__(self, files: SourceFiles) -> None:
        """`files` says which documents may be shown, and has their older versions."""
        self._files = files
        self._histories: dict[str, EditHistory] = {}
        """The histories of open and of edited documents, by path, the newest version last."""
        self._texts: dict[str, str] = {}
        """The newest recorded texts of the open documents, by path."""
        self._closed: set[str] = set()
        """Paths of documents that were closed since the last recording."""
        self.num_closed = 0
        """Number of documents closed so far."""
        self._version = 0
        self._lock = threading.Lock()

    def record(self, open_files: Iterable[OpenFile], num_closed: int) -> None:
        """Record the open documents that have changed. This may read the disk and run git.

        The first version of a document is that on disk, so unsaved changes are edits. Nothing is
        recorded if a document was closed since `num_closed` was read: it may be one of these.
        """
        self._record_closed()
        for file in open_files:
            if self._texts.get(file.path) is file.text or len(file.text) > MAX_BYTES:
                continue
            is_new = file.path not in self._histories
            if is_new and not self._files.may_show(file.path):
                continue
            first = self._files.read(file.path) if is_new else None
            with self._lock:
                if num_closed != self.num_closed:
                    return
                self._histories.setdefault(
                    file.path, EditHistory(unix_lines(file.text if first is None else first))
                )
                self._update(file.path, file.text)
                self._texts[file.path] = file.text

    def close(self, path: str) -> None:
        """Use the version on disk again after a document was closed."""
        with self._lock:
            self.num_closed += 1
            self._closed.add(path)

    def remove(self, path: str) -> None:
        """Forget the edits of a file that does not exist any more, unless it is open."""
        with self._lock:
            if path not in self._texts:
                self._histories.pop(path, None)

    def find(self, snapshot: Snapshot) -> tuple[Edit, ...]:
        """Return edits that resemble the text before the cursor, the most similar first.

        Edits with a key or personal data are left out, as are those near the cursor, which the
        prompt shows anyway.
        """
        cursor_line = snapshot.text.count("\n", 0, snapshot.cursor)
        with self._lock:
            edits = [
                (edit.changed, shown_edit(path, history, edit))
                for path, history in self._histories.items()
                for edit in history.edits
                if is_short(history, edit)
                and not (path == snapshot.path and is_near(edit.start, edit.end, cursor_line))
            ]
        newest = [edit for _, edit in sorted(edits, key=lambda pair: -pair[0])]
        similar = most_similar(newest[:_MAX_COMPARED], snapshot)
        harmless = (edit for edit in similar if not _has_secret(edit))
        allowed = (edit for edit in harmless if self._files.may_show(edit.path))
        return tuple(islice(allowed, MAX_EDITS))

    def _record_closed(self) -> None:
        """Undo the unsaved changes of documents that were closed."""
        with self._lock:
            closed, self._closed = self._closed & self._histories.keys(), set()
        for path in closed:
            text = self._files.read(path)
            with self._lock:
                self._texts.pop(path, None)
                history = self._histories.get(path)
                if history is not None and text is not None:
                    self._update(path, text)
                if text is None or (history is not None and not history.edits):
                    self._histories.pop(path, None)
        with self._lock:
            without_document = [path for path in self._histories if path not in self._texts]
            for path in without_document[:-MAX_CLOSED]:
                del self._histories[path]

    def _update(self, path: str, text: str) -> None:
        """Record the newest text of a document, and put its history last."""
        self._version += 1
        history = self._histories.pop(path)
        history.update(unix_lines(text), self._version)
        self._histories[path] = history


def most_similar(edits: Sequence[Edit], snapshot: Snapshot) -> list[Edit]:
    """Return the edits that share words with the text before the cursor, the most similar first.

    Of edits that are equally similar, the first one stays first.
    """
    near = snapshot.text[max(0, snapshot.cursor - _NEAR_CHARACTERS) : snapshot.cursor]
    near_words = frozenset(words(near))
    ranked = []
    for edit in edits:
        own = frozenset(words(edit.text))
        shared = len(own & near_words)
        if shared >= _MIN_SHARED_WORDS:
            ranked.append((shared / math.sqrt(len(own) + _SHORT_EDIT_WORDS), edit))
    return [edit for _, edit in sorted(ranked, key=lambda pair: -pair[0])]


def shown_edit(path: str, history: EditHistory, edit: LineEdit) -> Edit:
    """Return an edit as a prompt shows it."""
    lines = history.lines
    above = lines[max(0, edit.start - _CONTEXT_LINES) : edit.start]
    below = lines[edit.end : edit.end + _CONTEXT_LINES]
    return Edit(path, tuple(above), edit.before, history.after(edit), tuple(below))


def is_short(history: EditHistory, edit: LineEdit) -> bool:
    """Whether an edit is short enough for a prompt."""
    sides = (edit.before, history.after(edit))
    is_short = all(len(lines) <= _MAX_LINES for lines in sides)
    return is_short and all(sum(map(len, lines)) <= _MAX_CHARACTERS for lines in sides)


def is_near(start: int, end: int, line: int) -> bool:
    """Whether an edit of the lines `start:end` is so near to a line that a prompt shows both."""
    return start - _NEAR_LINES <= line < end + _NEAR_LINES


def _has_secret(edit: Edit) -> bool:
    return mask(edit.text) != edit.text
