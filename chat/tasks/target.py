"""What a task is about, what it may read, and what it proposes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from engine.errors import RequestError
from syntax.symbols import Symbol, enclosing_symbol

_SKIPPED = frozenset(
    {"node_modules", "__pycache__", "venv", "target", "dist", "build", "vendor", "site-packages"}
)
_MOST_FILES = 20_000


@dataclass(frozen=True, slots=True)
class Target:
    """A place in a file of the user's."""

    path: Path
    language: str
    """The language id of LSP."""
    text: str
    """The file as the editor has it."""
    start: int
    end: int
    """Selection in code points; equal where there is only a cursor."""
    root: Path
    """The workspace, or the file's folder."""
    instruction: str = ""
    """What the user adds, in any language."""
    problems: tuple[str, ...] = ()
    """Messages of the diagnostics there."""

    def symbol(self) -> Symbol:
        """Return the function or class there; raises RequestError where there is none."""
        found = enclosing_symbol(self.text, self.language, self.start, self.end)
        if found is None:
            raise RequestError("Put the cursor into a function or class.")
        return found


@dataclass(frozen=True, slots=True)
class FileEdit:
    """New text in place of `start` to `end`, in code points, of a file."""

    path: Path
    start: int
    end: int
    text: str
    creates: bool = False
    """Whether the file is not there yet."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a task came to."""

    title: str
    edits: tuple[FileEdit, ...] = ()
    note: str = ""
    """A sentence for the user beside the edits, or the answer itself where there are none."""


@dataclass
class WorkspaceFiles:
    """The user's files: what is open in the editor before what is on disk."""

    root: Path
    opened: Callable[[Path], str | None] = field(default=lambda _: None)
    _listed: list[Path] | None = None

    def read(self, path: Path) -> str | None:
        """Return the text of a file, None where there is none that can be read."""
        text = self.opened(path)
        if text is not None:
            return text
        try:
            # Line ends stay what they are.
            return path.read_bytes().decode("utf-8")
        except (OSError, UnicodeDecodeError):
            return None

    def exists(self, path: Path) -> bool:
        """Whether there is a file."""
        return self.opened(path) is not None or path.exists()

    def all(self) -> list[Path]:
        """Return the files of the workspace, without those of tools; the first many thousand."""
        if self._listed is None:
            self._listed = sorted(self._walk())
        return self._listed

    def _walk(self) -> Iterator[Path]:
        count = 0
        for folder, inner, names in os.walk(self.root):
            inner[:] = sorted(
                one for one in inner if one not in _SKIPPED and not one.startswith(".")
            )
            for name in names:
                count += 1
                if count > _MOST_FILES:
                    return
                yield Path(folder) / name
