"""New files of a proposal, for a client that cannot create them.

They are created empty, and the client fills them.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from chat.tasks.target import DocumentEdit, FileEdit, Proposal


class NewFiles:
    """The files of a proposal that do not exist yet."""

    def __init__(self, proposal: Proposal) -> None:
        self._proposal = proposal
        self._created: list[Path] = []
        """Created paths; files before the folders that contain them."""

    def create(self) -> Proposal:
        """Create empty files and return the proposal that fills them. Raises OSError."""
        edits: list[DocumentEdit | FileEdit] = []
        for edit in self._proposal.edits:
            if isinstance(edit, FileEdit) and edit.creates:
                self._create_empty(edit.path)
                edits.append(replace(edit, creates=False))
            else:
                edits.append(edit)
        return replace(self._proposal, edits=tuple(edits))

    def _create_empty(self, path: Path) -> None:
        missing_folders = [folder for folder in path.parents if not folder.exists()]
        # Recorded first: `remove_empty` then also removes what remains after an error.
        self._created += missing_folders
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            path.open("x").close()
            self._created.insert(0, path)

    def remove_empty(self) -> None:
        """Remove the created files that are still empty, because the user refused the edit."""
        for path in self._created:
            with suppress(OSError):
                if path.is_dir():
                    path.rmdir()
                elif path.stat().st_size == 0:
                    path.unlink()
