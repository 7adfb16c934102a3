"""Runs an editor in a terminal emulator, sends it keys and reads its screen."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import pyte
from rich.console import Console
from rich.style import Style
from rich.text import Text

from tests.editors.conftest import PICTURES

COLUMNS, LINES = 100, 30
_DEVICE_CONTROL = re.compile(rb"\x1bP[^\x1b]*\x1b\\")
"""Queries to the terminal that pyte would show as text."""
_COLOUR_NAMES = {"brown": "yellow", "brightbrown": "bright_yellow"}
"""The names that rich uses for colours which pyte names differently."""


class _Screen(pyte.Screen):
    """A screen that answers queries, as terminals do."""

    def __init__(self, master: int) -> None:
        super().__init__(COLUMNS, LINES)
        self._master = master

    def write_process_input(self, data: str) -> None:
        os.write(self._master, data.encode())

    def report_device_status(self, mode: int = 0, **_: bool) -> None:
        super().report_device_status(mode)


def _style(cell: pyte.screens.Char, background: str) -> Style:
    def colour(name: str) -> str | None:
        if name == "default":
            return None
        return f"#{name}" if re.fullmatch("[0-9a-f]{6}", name) else _COLOUR_NAMES.get(name, name)

    cell_background = background if cell.bg == "default" else cell.bg
    return Style(
        color=colour(cell.fg),
        bgcolor=colour(cell_background),
        bold=cell.bold,
        italic=cell.italics,
        underline=cell.underscore,
        reverse=cell.reverse,
    )


class Terminal:
    """A program that runs in its own terminal."""

    def __init__(self, master: int) -> None:
        self._master = master
        self.screen = _Screen(master)
        self._stream = pyte.ByteStream(self.screen)

    def wait(self, seconds: float) -> None:
        """Read the output of the program until it pauses for `seconds`."""
        while select.select([self._master], [], [], seconds)[0]:
            try:
                self._stream.feed(_DEVICE_CONTROL.sub(b"", os.read(self._master, 65536)))
            except OSError:
                return  # the program has ended

    @property
    def text(self) -> str:
        """The text on the screen."""
        return "\n".join(line.rstrip() for line in self.screen.display)

    def save_picture(self, name: str, title: str) -> Path:
        """Save a picture of the screen in colour."""
        console = Console(record=True, width=COLUMNS, file=io.StringIO(), color_system="truecolor")
        cells = [
            self.screen.buffer[row][column] for row in range(LINES) for column in range(COLUMNS)
        ]
        # pyte does not record the colour of erased cells. They have the most common background.
        ((background, _),) = Counter(cell.bg for cell in cells).most_common(1)
        for row in range(LINES):
            line = Text(no_wrap=True)
            row_cells = cells[row * COLUMNS : (row + 1) * COLUMNS]
            for style, run in groupby(row_cells, lambda cell: _style(cell, background)):
                line.append("".join(cell.data for cell in run), style)
            console.print(line)
        PICTURES.mkdir(parents=True, exist_ok=True)
        file = PICTURES / f"{name}.svg"
        console.save_svg(str(file), title=title)
        return file

    def keys(self, keys: str) -> None:
        """Send keys in the encoding of terminals: "\\x1b" is Escape, "\\r" Enter."""
        os.write(self._master, keys.encode())

    def wait_until(
        self, condition: Callable[[], Any], description: str, seconds: float = 15.0
    ) -> Any:
        """Wait until a condition holds and return its value."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.wait(0.05)
            if value := condition():
                return value
        raise AssertionError(
            f"{description}: not within {seconds} s; the screen shows\n{self.text}"
        )

    def wait_for_text(self, text: str, seconds: float = 15.0) -> None:
        """Wait until a text is on the screen."""
        self.wait_until(lambda: text in self.text, f"{text!r} is on the screen", seconds)


@contextmanager
def terminal(
    command: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> Iterator[Terminal]:
    """Run a program in a folder until the `with` block ends."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    # The shell leads a new session, so the terminal that it opens becomes its controlling terminal.
    shell = ["sh", "-c", 'exec "$@" <>"$0" >&0 2>&0', os.ttyname(slave)]
    process = subprocess.Popen(
        [*shell, *command],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", **environment},
    )
    os.close(slave)
    try:
        yield Terminal(master)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(master)
