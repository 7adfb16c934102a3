"""What a completer needs of a project."""

from __future__ import annotations

from typing import Protocol

from fim.snapshot import Snapshot


class ContextProvider(Protocol):
    """Function that adds text of the project to a snapshot."""

    async def __call__(self, snapshot: Snapshot, *, excerpts: bool, passages: bool) -> Snapshot:
        """Add the passages; add the excerpts of other files, the project and the path."""
        ...
