"""Results as JSON lines on disk, so that an interrupted run continues where it stopped."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Generic, TypeVar

from engine.errors import ConfigurationError, reason_of
from lsp_server.cli.outputs import check_output, writing

T = TypeVar("T")


class Results(Generic[T]):
    """Rows of one dataclass type; without a file they are kept in memory only."""

    def __init__(self, file: Path | None, read: Callable[[dict[str, Any]], T]) -> None:
        """Read the rows of the file, and remove its last line if that is incomplete.

        Raises ConfigurationError if the file cannot be written, or has other lines than results: it
        is probably not the file that the user meant, and is left as it is.
        """
        check_output(file, "--out")
        self._file = file
        self.rows: list[T] = []
        if file is not None and _is_regular(file):
            self._read(file, read)

    def _read(self, file: Path, read: Callable[[dict[str, Any]], T]) -> None:
        try:
            lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        except UnicodeDecodeError:
            raise _not_results(file) from None
        except OSError as error:
            raise ConfigurationError(f"{file} cannot be read: {reason_of(error)}.") from None
        is_incomplete = bool(lines) and not lines[-1].endswith("\n")
        complete = lines[:-1] if is_incomplete else lines
        try:
            self.rows = [read(json.loads(line)) for line in complete]
        except (ValueError, TypeError, KeyError, AttributeError):
            raise _not_results(file) from None
        if is_incomplete:
            if not lines[-1].startswith("{"):
                raise _not_results(file)
            with writing(file):
                file.write_text("".join(complete), encoding="utf-8")

    def add(self, row: T) -> None:
        """Add a row, and write it to the file immediately; raises ConfigurationError."""
        self.rows.append(row)
        if self._file is not None:
            with writing(self._file), self._file.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(asdict(row)) + "\n")  # type: ignore[call-overload]


def _is_regular(file: Path) -> bool:
    """Whether a file can be read to its end, unlike /dev/stdout."""
    return file.exists() and stat.S_ISREG(file.stat().st_mode)


def _not_results(file: Path) -> ConfigurationError:
    return ConfigurationError(
        f"--out {file} has lines that are not results of this command. Give a new file, or one "
        "that an earlier run wrote."
    )
