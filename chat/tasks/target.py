"""The input of a task (`Target`, `WorkspaceFiles`) and its result (`Proposal`)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from chat.tasks.summary import Summary
from engine.errors import RequestError
from syntax.symbols import Symbol, enclosing_symbol
from workspace.files import leaves_folder, read_bytes

_SKIPPED_FOLDERS = frozenset(
    {"node_modules", "__pycache__", "venv", "target", "dist", "build", "vendor", "site-packages"}
)
_MAX_FILES = 20_000
_MAX_BYTES = 2_000_000


@dataclass(frozen=True, slots=True)
class Target:
    """The place in the user's code that a task works on."""

    uri: str
    """The name of the document, as the editor writes it."""
    path: Path | None
    """The file of the document, None if it is no file of this machine: an unsaved document, a
    virtual one, or a cell of a notebook."""
    language: str
    """The LSP language id of the document."""
    text: str
    """The content of the document as the editor shows it."""
    start: int
    """Start of the selection, in code points."""
    end: int
    """End of the selection, in code points. It equals `start` if there is only a cursor."""
    instruction: str = ""
    """Additional instruction of the user, in any language."""
    problems: tuple[str, ...] = ()
    """Messages of the editor's diagnostics at this place."""
    why_no_path: str = ""
    """A sentence for the user that says why `path` is None, and what to do."""

    def file(self) -> Path:
        """Return the file of the document; raises RequestError if it has none."""
        if self.path is None:
            raise RequestError(self.why_no_path or "This document is not a file. Save it first.")
        return self.path

    def edit(self, start: int, end: int, text: str) -> DocumentEdit:
        """Return an edit of the document between two offsets, in code points."""
        return DocumentEdit(self.uri, start, end, text)

    def symbol(self) -> Symbol:
        """Return the function or class at this place; raises RequestError if there is none."""
        symbol = enclosing_symbol(self.text, self.language, self.start, self.end)
        if symbol is None:
            raise RequestError("Put the cursor into a function or class.")
        return symbol


@dataclass(frozen=True, slots=True)
class DocumentEdit:
    """An edit that replaces the text of an open document between two offsets, in code points."""

    uri: str
    """The name of the document, as the editor writes it."""
    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class FileEdit:
    """An edit that replaces the text of a file between two offsets, in code points."""

    path: Path
    start: int
    end: int
    text: str
    creates: bool = False
    """Whether the edit creates the file."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """The result of a task: edits that the user may accept, or an answer in words."""

    title: str
    edits: tuple[DocumentEdit | FileEdit, ...] = ()
    note: str = ""
    """A sentence for the user about the edits, or the whole answer if there are no edits."""
    checked: Summary | None = None
    """What running the proposed tests showed; None if they were not run."""


@dataclass
class WorkspaceFiles:
    """The user's files. The text of an open editor takes precedence over the file on disk."""

    root: Path
    read_open_file: Callable[[Path], str | None] = field(default=lambda _: None)
    """Function that returns the text of a file that is open in the editor, None for other files."""
    boundary: Path | None = None
    """The workspace folder that no file may leave; None if the user's file is in no folder."""
    may_show: Callable[[Path], bool] = field(default=lambda _: True)
    """Function that returns whether a prompt may contain text of a file."""
    _paths: list[Path] | None = None

    def read(self, path: Path) -> str | None:
        """Return the text of a file of the workspace; None if it cannot be read as UTF-8 text."""
        text = self.read_open_file(path)
        if text is not None:
            return text
        try:
            # Edits are offsets in the text, so its line endings stay.
            # An editor does not show a byte order mark, so offsets do not count it.
            return read_bytes(path, _MAX_BYTES, inside=self.boundary).decode("utf-8-sig")
        except (OSError, UnicodeDecodeError):
            return None

    def read_to_edit(self, path: Path) -> str | None:
        """Return the text of a file that a proposal changes, or None if it does not exist yet.

        Raises RequestError if the file exists but cannot be read, or is outside of the workspace.
        """
        text = self.read(path)
        is_outside = self.boundary is not None and leaves_folder(path, self.boundary)
        if text is None and (is_outside or os.path.lexists(path)):
            raise RequestError(
                f"{path.name} cannot be changed, because it is not a text file of this workspace."
            )
        return text

    def paths(self) -> list[Path]:
        """Return the files of the workspace, at most 20,000, without tool folders."""
        if self._paths is None:
            self._paths = sorted(self._walk())
        return self._paths

    def _walk(self) -> Iterator[Path]:
        count = 0
        for folder, inner, names in os.walk(self.root):
            inner[:] = sorted(
                name for name in inner if name not in _SKIPPED_FOLDERS and not name.startswith(".")
            )
            for name in names:
                count += 1
                if count > _MAX_FILES:
                    return
                yield Path(folder) / name
