"""Passages of a document that belongs to no project."""

from __future__ import annotations

from fim.memory.worker import MemoryWorker
from fim.snapshot import Passage, Snapshot


class OwnMemory:
    """The text of one document; of a notebook's cell, also the cells before it."""

    def __init__(self) -> None:
        self._worker = MemoryWorker()
        self._texts: dict[str, str] = {}

    async def find(self, snapshot: Snapshot) -> tuple[Passage, ...]:
        """Return the passages for a snapshot; none if that takes longer than a few milliseconds."""
        texts = {str(number): cell.text for number, cell in enumerate(snapshot.cells)}
        texts[snapshot.uri] = snapshot.text
        memory = self._worker.memory
        for key in self._texts.keys() - texts.keys():
            memory.forget(key)
        for key, text in texts.items():
            if self._texts.get(key) != text:
                memory.put(key, text)
        self._texts = texts
        passages = await self._worker.search(
            lambda: memory.passages(snapshot.uri, snapshot.text, snapshot.cursor)
        )
        self._worker.start_build()
        return passages

    def stop(self) -> None:
        """Stop indexing."""
        self._worker.stop()
