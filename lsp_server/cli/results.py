"""Results as JSON lines on disk, so that a run that was cut off goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Results(Generic[T]):
    """Rows of one kind of dataclass; without a file they are only kept in memory."""

    def __init__(self, file: Path | None, read: Callable[[dict[str, Any]], T]) -> None:
        """Take over what the file holds; a last line that was cut off is dropped from it."""
        self._file = file
        self.rows: list[T] = []
        if file is None:
            return
        kept = []
        for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
            try:
                self.rows.append(read(json.loads(line)))
            except (ValueError, TypeError, KeyError):
                continue
            kept.append(line + "\n")
        file.write_text("".join(kept), encoding="utf-8")

    def add(self, row: T) -> None:
        """Keep a row, on disk at once."""
        self.rows.append(row)
        if self._file is not None:
            with self._file.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(asdict(row)) + "\n")  # type: ignore[call-overload]
