"""The access log: one JSON line per request, without contents.

A line has names and numbers only. The name of the user comes from the key file, the route from the
table of routes, and the method from a list. So no client can write a line, or a part of one.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from engine.errors import ConfigurationError, reason_of
from engine.private_files import NotPrivateError, open_private_file
from engine.server.operation.request_record import RequestRecord

log = logging.getLogger(__name__)

_MAX_WAITING = 10_000
"""Lines that wait to be written. More are dropped, for example while a disk hangs."""
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT


class AccessLog:
    """Writes lines in a thread of its own, because a disk or a pipe may block."""

    def __init__(self, path: Path | None) -> None:
        """Open the file, or write to stderr without one.

        Raises ConfigurationError for a file that cannot be written, or that others can write to.
        """
        self._path = path
        self._descriptor = sys.stderr.fileno() if path is None else _open(path)
        self._lines: queue.Queue[bytes | None] = queue.Queue(_MAX_WAITING)
        self._num_dropped = 0
        self._has_problem = False
        self._thread = threading.Thread(target=self._write_all, name="access log", daemon=True)
        self._thread.start()

    def observe(self, record: RequestRecord) -> None:
        """Add the line of a request that has ended; this does not block."""
        try:
            self._lines.put_nowait(line_of(record, datetime.now(UTC)))
        except queue.Full:
            self._num_dropped += 1

    def close(self) -> None:
        """Write the lines that wait, for a second at most."""
        try:
            self._lines.put(None, timeout=1)
        except queue.Full:
            return
        self._thread.join(1)

    def _write_all(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                self._reopen_if_moved()
                _write(self._descriptor, line)
            except OSError as error:
                self._report(f"the access log cannot be written: {reason_of(error)}")
            else:
                self._has_problem = False
            if self._num_dropped:
                dropped, self._num_dropped = self._num_dropped, 0
                log.warning("the access log lost %d lines: it was written too slowly", dropped)

    def _report(self, problem: str) -> None:
        if not self._has_problem:
            log.error("%s", problem)
        self._has_problem = True

    def _reopen_if_moved(self) -> None:
        """Open the file again if it was renamed or removed, as programs that rotate logs do."""
        if self._path is None:
            return
        state = os.fstat(self._descriptor)
        try:
            current = os.lstat(self._path)
        except FileNotFoundError:
            pass
        else:
            if (current.st_dev, current.st_ino) == (state.st_dev, state.st_ino):
                return
        descriptor = open_private_file(self._path, _APPEND)
        os.close(self._descriptor)
        self._descriptor = descriptor


@contextmanager
def access_log(path: Path | None) -> Iterator[AccessLog]:
    """Open an access log inside the block; see `AccessLog`."""
    opened = AccessLog(path)
    try:
        yield opened
    finally:
        opened.close()


def line_of(record: RequestRecord, now: datetime) -> bytes:
    """Return the line of a request, in ASCII, with a line feed only at its end.

    Times are in seconds. `user` and `route` are null if they are unknown.
    """
    content = {
        "time": now.isoformat(timespec="milliseconds"),
        "user": record.user or None,
        "method": record.method,
        "route": record.route or None,
        "status": record.status,
        "end": record.end,
        "prompt_tokens": record.prompt_tokens,
        "completion_tokens": record.completion_tokens,
        "reused_tokens": record.reused_tokens,
        "queue_s": _rounded(record.queue_s),
        "first_token_s": _rounded(record.first_token_s),
        "total_s": _rounded(record.total_s),
    }
    return json.dumps(content).encode("ascii") + b"\n"


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)


def _write(descriptor: int, line: bytes) -> None:
    while line:
        line = line[os.write(descriptor, line) :]


def _open(path: Path) -> int:
    try:
        return open_private_file(path, _APPEND)
    except NotPrivateError as error:
        reason = error.problem
    except OSError as error:
        reason = reason_of(error)
    raise ConfigurationError(
        f"The access log {path} cannot be used: {reason}. Choose an ordinary file in a folder that "
        "you can write to, and that only you can write."
    )
