"""Runs the real command line: with pipes, or in a terminal of a given width."""

import errno
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

COMMAND = (sys.executable, "-m", "lsp_server")
LEAKS = ("Traceback", "Errno", "KeyError", "NoneType", "codec", "Input should", "Error:", "dict")
"""Words of Python and pydantic that no message of a command contains."""


def environment(**variables: str) -> dict[str, str]:
    """The tests' environment without settings of the terminal, and with these variables."""
    unset = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "PYTHONIOENCODING", "PYTHONUTF8")
    base = {name: value for name, value in os.environ.items() if name not in unset}
    return {**base, "TERM": "xterm-256color", **variables}


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command with pipes; `variables` are added to its environment."""
    variables = options.pop("variables", {})
    return subprocess.run(
        [*COMMAND, *arguments],
        **{
            "capture_output": True,
            "text": True,
            "timeout": 120,
            "stdin": subprocess.DEVNULL,
            "env": environment(**variables),
            "check": False,
            **options,
        },
    )


def assert_plain(process: subprocess.CompletedProcess[str], status: int, *words: str) -> None:
    """Assert that a command failed with this status, and with a sentence in plain words."""
    text = process.stdout + process.stderr
    assert process.returncode == status, text
    for word in words:
        assert word in text
    assert not [leak for leak in LEAKS if leak in text], text


@contextmanager
def in_terminal(
    *arguments: str, columns: int = 80, **variables: str
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Start a command in a terminal, and yield the process and the terminal's other end."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment(**variables),
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(slave)
    try:
        yield process, master
    finally:
        process.kill()
        process.wait()
        os.close(master)


def read_all(master: int) -> str:
    """Return what a command prints until it closes its terminal."""
    pieces = []
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError as error:
            if error.errno != errno.EIO:  # the end of a terminal on Linux
                raise
            break
        if not piece:
            break
        pieces.append(piece)
    return b"".join(pieces).decode(errors="replace").replace("\r\n", "\n")


def run_in_terminal(*arguments: str, columns: int = 80, **variables: str) -> tuple[str, int]:
    """Return the output of a command in a terminal, and its status."""
    with in_terminal(*arguments, columns=columns, **variables) as (process, master):
        text = read_all(master)
        return text, process.wait(60)
