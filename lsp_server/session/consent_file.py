"""The user's remembered answers to whether generated code may run, one per folder.

They are one JSON file for all editors of the user. Nothing of it is in the folder itself, so that
no folder can give the answer for the user. All functions block.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal, cast, get_args

import platformdirs
from filelock import FileLock

from engine.private_files import read_private_file, write_private_file

log = logging.getLogger(__name__)

Answer = Literal["always", "never"]

_VARIABLE = "STARCODER_LSP_CONSENT"
_LOCK_SECONDS = 5.0


def consent_file() -> Path:
    """Return the path of the file; `STARCODER_LSP_CONSENT` overrides the default."""
    override = os.environ.get(_VARIABLE)
    if override:
        return Path(override)
    return platformdirs.user_data_path("starcoder-lsp") / "consent.json"


class ConsentFile:
    """The answers on disk. Several servers may write them at the same time."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def answer(self, folder: str) -> Answer | None:
        """Return the answer for a real path of a folder, None if there is none."""
        return self._read().get(folder)

    def remember(self, folder: str, answer: Answer) -> None:
        """Store an answer, in place of an earlier one. Raises OSError if it cannot be written."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._lock():
            self._write({**self._read(), folder: answer})

    def forget(self, folders: Collection[str]) -> None:
        """Remove the answers for folders. Raises OSError if the file cannot be written."""
        if not self._read().keys() & set(folders):
            return
        with self._lock():
            kept = {name: each for name, each in self._read().items() if name not in folders}
            self._write(kept)

    def _lock(self) -> FileLock:
        """Return a lock for a change of the file. Its timeout is an OSError."""
        return FileLock(f"{self._path}.lock", timeout=_LOCK_SECONDS)

    def _read(self) -> dict[str, Answer]:
        """Return the usable answers; none if the file is damaged or others can write to it."""
        try:
            content: Any = json.loads(read_private_file(self._path))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            log.warning("the remembered consent cannot be read: %s", type(error).__name__)
            return {}
        entries = content.items() if isinstance(content, dict) else ()
        return {name: cast("Answer", each) for name, each in entries if each in get_args(Answer)}

    def _write(self, answers: dict[str, Answer]) -> None:
        write_private_file(self._path, json.dumps(answers, indent=1).encode())
