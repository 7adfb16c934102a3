"""Runs commands in a project that has further files, without writing into the project."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager, ExitStack, contextmanager
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
    """A sandbox of one project, in which edited files are seen in place of the real ones.

    It is safe to use from several threads: runs at the same time do not see each other's files.
    """

    def __init__(self, box: Sandbox, originals: Mapping[Path, str]) -> None:
        """`originals` are the texts to which edits refer, for files whose text is not empty."""
        self._box = box
        self._originals = {_real(path): text for path, text in originals.items()}
        self._resources = ExitStack()
        self._lock = threading.Lock()
        self._unused: list[_View] = []
        self._cancelled = threading.Event()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._resources.close()

    def cancel(self) -> None:
        """Stop the commands that run, and refuse others."""
        self._cancelled.set()

    def run(self, command: Command, edits: Iterable[FileEdit], seconds: float) -> Result:
        """Run a command that sees the files with these edits.

        Raises CannotRunError if it could not be started in isolation, and CancelledError.
        """
        texts = self.texts(edits)
        with self._view() as view:
            unchanged = {path: self._originals.get(path, "") for path in view.files}
            view.write({**unchanged, **texts})
            if self._cancelled.is_set():
                raise CancelledError
            try:
                limits = replace(self._box.limits, seconds=seconds)
                box = replace(view.prepared(self._box), limits=limits)
                result = box.run_command(command, self._cancelled)
            except ConfigurationError as error:
                raise CannotRunError(error.user_message) from None
        if self._cancelled.is_set():
            raise CancelledError
        return result

    @contextmanager
    def _view(self) -> Iterator[_View]:
        """Return a view that no other run uses."""
        with self._lock:
            if not self._unused:
                folder = self._resources.enter_context(TemporaryDirectory(prefix="starcoder-lsp-"))
                self._unused.append(_View(Path(folder)))
            view = self._unused.pop()
        try:
            yield view
        finally:
            with self._lock:
                self._unused.append(view)

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


class _View:
    """The edited files that one run sees."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.files: dict[Path, Path] = {}
        """The files with the edited texts, by the paths at which they are seen."""
        self._prepared: Sandbox | None = None

    def write(self, texts: Mapping[Path, str]) -> None:
        """Write the texts that are seen at some paths."""
        for path, text in texts.items():
            if path not in self.files:
                self.files[path] = self._folder / str(len(self.files))
                self._prepared = None
            self.files[path].write_text(text, encoding="utf-8")
            self.files[path].chmod(0o644)

    def prepared(self, box: Sandbox) -> Sandbox:
        """Return a sandbox that shows the files."""
        if self._prepared is None:
            self._prepared = replace(box, overlays=dict(self.files)).prepared()
        return self._prepared


def _real(path: Path) -> Path:
    """Return the path at which a sandbox shows a file: its folder without links."""
    return Path(os.path.realpath(path.parent)) / path.name
