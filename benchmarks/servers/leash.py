"""Runs a command that ends when the process that started it ends, however that happens.

`leash.py COMMAND...` starts the command in a process group of its own and writes the group's id to
stdout. When stdin is closed, it ends the whole group. The standard library is all it needs.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

_GRACE_S = 3.0
"""Seconds from SIGTERM to SIGKILL."""
_POLL_S = 0.05


def main(command: list[str]) -> int:
    """Run the command until it ends or stdin is closed; return its status."""
    log = sys.stderr.fileno()
    process = subprocess.Popen(
        command, start_new_session=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log
    )
    print(process.pid, flush=True)
    threading.Thread(target=_end_with_stdin, args=(process,), daemon=True).start()
    status = process.wait()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # its children that have not ended
    return status


def _end_with_stdin(process: subprocess.Popen[bytes]) -> None:
    """Wait until stdin is closed, then end the group. A stopped process only heeds SIGKILL."""
    # Not by a buffered file, whose lock would fail the end of the interpreter.
    while os.read(sys.stdin.fileno(), 1):
        pass
    deadline = time.monotonic() + _GRACE_S
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        os.killpg(process.pid, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
