"""Runs commands in a project that has further files, without writing into the project."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType

from chat.tasks.checking.runner import CannotRunError
from chat.tasks.target import FileEdit
from engine.errors import ConfigurationError
from sandbox.command import Command, Result
from sandbox.sandbox import Sandbox


class Overlays(AbstractContextManager["Overlays"]):
    """A sandbox of one project, in which edited files are seen in place of the real ones."""

    def __init__(self, box: Sandbox, originals: Mapping[Path, str]) -> None:
        """`originals` are the texts to which edits refer, for files whose text is not empty."""
        self._box = box
        self._originals = {_real(path): text for path, text in originals.items()}
        self._folder = TemporaryDirectory(prefix="starcoder-lsp-")
        self._files: dict[Path, Path] = {}
        self._prepared: Sandbox | None = None
        self._cancelled = threading.Event()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._folder.cleanup()

    def cancel(self) -> None:
        """Stop the command that runs, and refuse others."""
        self._cancelled.set()

    def run(self, command: Command, edits: Iterable[FileEdit], seconds: float) -> Result:
        """Run a command that sees the files with these edits.

        Raises CannotRunError if it could not be started in isolation, and CancelledError.
        """
        texts = self.texts(edits)
        unchanged = {path: self._originals.get(path, "") for path in self._files}
        for path, text in {**unchanged, **texts}.items():
            self._write(path, text)
        if self._cancelled.is_set():
            raise CancelledError
        try:
            if self._prepared is None:
                self._prepared = replace(self._box, overlays=dict(self._files)).prepared()
            limits = replace(self._box.limits, seconds=seconds)
            box = replace(self._prepared, limits=limits)
            result = box.run_command(command, self._cancelled)
        except ConfigurationError as error:
            raise CannotRunError(error.user_message) from None
        if self._cancelled.is_set():
            raise CancelledError
        return result

    def texts(self, edits: Iterable[FileEdit]) -> dict[Path, str]:
        """Return the texts of the edited files, by their real paths."""
        by_path: dict[Path, list[FileEdit]] = {}
        for edit in edits:
            by_path.setdefault(_real(edit.path), []).append(edit)
        texts = {}
        for path, own in by_path.items():
            text = self._originals.get(path, "")
            for edit in sorted(own, key=lambda edit: (edit.start, edit.end), reverse=True):
                text = text[: edit.start] + edit.text + text[edit.end :]
            texts[path] = text
        return texts

    def _write(self, path: Path, text: str) -> None:
        if path not in self._files:
            self._files[path] = Path(self._folder.name) / str(len(self._files))
            self._prepared = None
        self._files[path].write_text(text, encoding="utf-8")
        self._files[path].chmod(0o644)


def _real(path: Path) -> Path:
    """Return the path at which a sandbox shows a file: its folder without links."""
    return Path(os.path.realpath(path.parent)) / path.name
