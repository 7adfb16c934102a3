"""The SQLite file of the conversations, and what happens if it cannot be used.

- A damaged file is renamed, so that nothing is lost, and a new one is started.
- If the file cannot be written (the disk is full, it is locked, a newer version wrote it, another
  user owns it, ...), the conversations are in memory until the process ends. What can be read of
  the file is copied there.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from engine.private_files import NotPrivateError, open_private_file

log = logging.getLogger(__name__)

T = TypeVar("T")

_LOCK_SECONDS = 5.0
"""Time to wait for another window that writes."""
_DAMAGED_CODES = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_ADVICE = {
    sqlite3.SQLITE_FULL: ("is on a full disk", "Free some space"),
    sqlite3.SQLITE_READONLY: ("cannot be written", "Change its permissions"),
    sqlite3.SQLITE_BUSY: ("is locked by another program", "Close that program"),
}
"""By SQLite's code of the error: the problem, and what to do."""


class DamagedError(Exception):
    """A row of the file has contents that this program never writes."""


class _NewerError(Exception):
    """A newer version of this program wrote the file."""


class Database:
    """Runs functions on the file, or in memory if the file cannot be used."""

    def __init__(
        self,
        file: Path,
        versions: Sequence[Sequence[str]],
        variable: str,
        on_problem: Callable[[str], None],
    ) -> None:
        """Use `file`, which is brought to the newest of `versions`.

        A version is a list of SQL statements that change the tables of the version before it. Its
        number is SQLite's `user_version`. `variable` is the environment variable that names another
        file. `on_problem` gets each problem, as a sentence for the user.
        """
        self._file, self._versions, self._variable = file, versions, variable
        self._on_problem = on_problem
        self._lock = threading.Lock()
        self._memory: sqlite3.Connection | None = None

    def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Return the result of `work`, a function of a connection, in one transaction.

        If the file fails, `work` runs again on another one. The errors that it raises for other
        reasons are passed on.
        """
        with self._lock:
            if self._memory is None:
                for _ in range(2):
                    try:
                        return self._run_on_file(work)
                    except sqlite3.IntegrityError:
                        raise
                    except (OSError, sqlite3.Error, DamagedError, _NewerError) as error:
                        problem = error
                        if not (_is_damage(error) and self._set_aside()):
                            break
                self._memory = self._copy_in_memory()
                self._on_problem(self._sentence(problem))
            with self._memory:
                return work(self._memory)

    def _run_on_file(self, work: Callable[[sqlite3.Connection], T]) -> T:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        # Only the user may read conversations, because they contain code.
        os.close(open_private_file(self._file, os.O_CREAT | os.O_RDWR, repair=True))
        connection = sqlite3.connect(self._file, timeout=_LOCK_SECONDS)
        with closing(connection) as database, database:
            self._prepare(database)
            return work(database)

    def _prepare(self, database: sqlite3.Connection) -> None:
        database.execute("pragma foreign_keys = on")
        database.execute("pragma secure_delete = on")
        if _version(database) == len(self._versions):
            return
        # Not a plain `begin`: that one does not wait while another window creates the tables.
        database.execute("begin immediate")
        version = _version(database)
        if version > len(self._versions):
            raise _NewerError
        for statements in self._versions[version:]:
            for statement in statements:
                database.execute(statement)
        database.execute(f"pragma user_version = {len(self._versions)}")
        database.commit()

    def _set_aside(self) -> bool:
        """Rename the damaged file and report it; return whether that was possible."""
        aside = self._file.with_name(f"{self._file.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
        try:
            if aside.exists():
                return False
            self._file.rename(aside)
            for suffix in ("-journal", "-wal", "-shm"):
                part = self._file.with_name(self._file.name + suffix)
                if part.exists():
                    part.rename(aside.with_name(aside.name + suffix))
        except OSError as error:
            log.warning("the damaged file of chats cannot be renamed: %s", error.strerror)
            return False
        self._on_problem(
            f"The file of chats was damaged. It is kept as {aside}, and a new file is started."
        )
        return True

    def _copy_in_memory(self) -> sqlite3.Connection:
        """Return a database in memory with what can be read of the file."""
        memory = sqlite3.connect(":memory:", check_same_thread=False)
        try:
            os.close(open_private_file(self._file, os.O_RDONLY))
            source = sqlite3.connect(
                f"{self._file.absolute().as_uri()}?mode=ro", uri=True, timeout=0
            )
            with closing(source):
                # The copy waits without end for a lock, so this connection takes its own first.
                source.execute("begin")
                if 0 < _version(source) <= len(self._versions):
                    source.execute("select count(*) from sqlite_master").fetchone()
                    source.backup(memory)
            self._prepare(memory)
        except (OSError, sqlite3.Error) as error:
            log.warning("the chats on disk cannot be read: %s", type(error).__name__)
            memory.close()
            memory = sqlite3.connect(":memory:", check_same_thread=False)
            self._prepare(memory)
        return memory

    def _sentence(self, error: Exception) -> str:
        problem, advice = _reason(error)
        return (
            f"Chats are not stored until the server is restarted: {self._file} {problem}. "
            f"{advice}, or set {self._variable} to another file."
        )


def _version(database: sqlite3.Connection) -> int:
    """Return the version of the tables, 0 for a new file."""
    return int(database.execute("pragma user_version").fetchone()[0])


def _reason(error: Exception) -> tuple[str, str]:
    """Return what is wrong with the file, and what to do."""
    if isinstance(error, _NewerError):
        return "was written by a newer starcoder-lsp", "Update this one"
    if isinstance(error, NotPrivateError):
        return error.problem, "Move it away"
    if isinstance(error, OSError):
        return f"cannot be used ({error.strerror})", "Move it away"
    return _ADVICE.get(_code_of(error), (f"cannot be used ({error})", "Move it away"))


def _is_damage(error: Exception) -> bool:
    if isinstance(error, sqlite3.OperationalError) and str(error).startswith("no such"):
        return True  # a table or a column is missing
    return isinstance(error, DamagedError) or _code_of(error) in _DAMAGED_CODES


def _code_of(error: Exception) -> int:
    """Return SQLite's primary code of an error, 0 for another exception."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
