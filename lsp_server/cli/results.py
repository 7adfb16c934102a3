"""Results as JSON lines on disk, so that an interrupted run continues where it stopped."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Results(Generic[T]):
    """Rows of one dataclass type; without a file they are kept in memory only."""

    def __init__(self, file: Path | None, read: Callable[[dict[str, Any]], T]) -> None:
        """Read the rows of the file, and remove its incomplete lines."""
        self._file = file
        self.rows: list[T] = []
        if file is None:
            return
        complete_lines = []
        for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
            try:
                self.rows.append(read(json.loads(line)))
            except (ValueError, TypeError, KeyError):
                continue
            complete_lines.append(line + "\n")
        file.write_text("".join(complete_lines), encoding="utf-8")

    def add(self, row: T) -> None:
        """Add a row, and write it to the file immediately."""
        self.rows.append(row)
        if self._file is not None:
            with self._file.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(asdict(row)) + "\n")  # type: ignore[call-overload]
