"""Which process has a model in memory: one per key of weights and options.

Every process has the key with which its client started it. A process whose model was not known then
(`auto`, or a download) claims the key of its weights too, when it knows them, with the lock that a
process of that key would hold. Either it gets the lock and publishes under that key where it
answers, or another process has the model already: then it publishes under its own key where the
other answers, and exits.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout

from engine.client.endpoint import RuntimeFiles
from engine.client.engine_key import engine_key
from engine.errors import EngineElsewhereError
from engine.settings import EngineSettings

log = logging.getLogger(__name__)


class Claim:
    """The claim of one process. All methods block."""

    def __init__(self, files: RuntimeFiles, settings: EngineSettings) -> None:
        """`files` are those of the address at which this process answers already."""
        self._files = files
        self._settings = settings
        self._lock: FileLock | None = None
        self._claimed: RuntimeFiles | None = None
        files.remove_alias()

    def is_loaded(self, path: Path) -> bool:
        """Return whether another process has the model at this path, with the same options."""
        other = self._files_of(path)
        return other.key != self._files.key and other.is_served()

    def claim(self, path: Path) -> None:
        """Claim the model at this path. Raises EngineElsewhereError if another process has it."""
        other = self._files_of(path)
        if other.key == self._files.key:
            return
        # Not bound to a thread: the thread that loads takes it, another one releases it.
        lock = FileLock(other.alive_lock, thread_local=False)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.info("the engine %s has this model already", other.key)
            self._files.write_alias(other.key)
            raise EngineElsewhereError("Another engine has this model in memory.") from None
        self._lock, self._claimed = lock, other
        other.write_alias(self._files.key)

    def release(self) -> None:
        """Give the claim up, when the process exits."""
        if self._claimed is not None:
            self._claimed.remove_alias()
        if self._lock is not None:
            self._lock.release()

    def _files_of(self, path: Path) -> RuntimeFiles:
        # The revision says which snapshot a hub id means, and this is the path of one.
        settings = replace(self._settings, model=str(path), revision=None)
        return replace(self._files, key=engine_key(settings))
