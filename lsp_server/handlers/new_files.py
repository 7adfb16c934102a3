"""Files that a task adds, for a client that makes none: made empty here, filled by the client."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from chat.tasks.target import Proposal


class NewFiles:
    """The files that a proposal wants, as far as they were not there."""

    def __init__(self, proposal: Proposal) -> None:
        self._proposal = proposal
        self._made: list[Path] = []
        """Files before the folders that hold them."""

    def make(self) -> Proposal:
        """Make them, empty, and return the proposal that fills them. Raises OSError."""
        for one in self._proposal.edits:
            if one.creates:
                self._make(one.path)
        edits = tuple(replace(one, creates=False) for one in self._proposal.edits)
        return replace(self._proposal, edits=edits)

    def _make(self, path: Path) -> None:
        missing = [folder for folder in path.parents if not folder.exists()]
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            path.open("x").close()
            self._made += [path, *missing]

    def take_back(self) -> None:
        """Remove what is still empty: the user did not want it."""
        for path in self._made:
            with suppress(OSError):
                if path.is_dir():
                    path.rmdir()
                elif path.stat().st_size == 0:
                    path.unlink()
