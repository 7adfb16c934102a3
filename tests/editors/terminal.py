"""An editor in a terminal: keys go in, and what a person would see comes out."""

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
"""Questions that pyte would show as text."""
_NAMED = {"brown": "yellow", "brightbrown": "bright_yellow"}
"""Colours that pyte and rich call by different names."""


class _Screen(pyte.Screen):
    """A screen that answers what it is asked, as terminals do."""

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
        return f"#{name}" if re.fullmatch("[0-9a-f]{6}", name) else _NAMED.get(name, name)

    shown = background if cell.bg == "default" else cell.bg
    return Style(
        color=colour(cell.fg),
        bgcolor=colour(shown),
        bold=cell.bold,
        italic=cell.italics,
        underline=cell.underscore,
        reverse=cell.reverse,
    )


class Terminal:
    """One program in a terminal of its own."""

    def __init__(self, master: int) -> None:
        self._master = master
        self.screen = _Screen(master)
        self._stream = pyte.ByteStream(self.screen)

    def wait(self, seconds: float) -> None:
        """Take in what the program writes, until it pauses for so long."""
        while select.select([self._master], [], [], seconds)[0]:
            try:
                self._stream.feed(_DEVICE_CONTROL.sub(b"", os.read(self._master, 65536)))
            except OSError:
                return  # it has ended

    @property
    def text(self) -> str:
        """What stands on the screen."""
        return "\n".join(line.rstrip() for line in self.screen.display)

    def picture(self, name: str, title: str) -> Path:
        """Keep what is on the screen, in its colours."""
        console = Console(record=True, width=COLUMNS, file=io.StringIO(), color_system="truecolor")
        cells = [
            self.screen.buffer[row][column] for row in range(LINES) for column in range(COLUMNS)
        ]
        # What is erased has the colour of the rest, which pyte does not know.
        ((background, _),) = Counter(cell.bg for cell in cells).most_common(1)
        for row in range(LINES):
            line = Text(no_wrap=True)
            here = cells[row * COLUMNS : (row + 1) * COLUMNS]
            for style, run in groupby(here, lambda cell: _style(cell, background)):
                line.append("".join(cell.data for cell in run), style)
            console.print(line)
        PICTURES.mkdir(parents=True, exist_ok=True)
        file = PICTURES / f"{name}.svg"
        console.save_svg(str(file), title=title)
        return file

    def keys(self, keys: str) -> None:
        """Type, as the terminal encodes it: "\\x1b" is Escape, "\\r" Enter."""
        os.write(self._master, keys.encode())

    def until(self, holds: Callable[[], Any], what: str, seconds: float = 15.0) -> Any:
        """Wait for a condition; returns what it gave."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.wait(0.05)
            if found := holds():
                return found
        raise AssertionError(f"{what}: not within {seconds} s; the screen is\n{self.text}")

    def sees(self, text: str, seconds: float = 15.0) -> None:
        """Wait until a text stands on the screen."""
        self.until(lambda: text in self.text, f"{text!r} is on the screen", seconds)


@contextmanager
def terminal(
    command: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> Iterator[Terminal]:
    """Run a program in a folder until the block ends."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    running = subprocess.Popen(
        command,
        cwd=folder,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # so that it has a /dev/tty
        env={**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", **environment},
    )
    os.close(slave)
    try:
        yield Terminal(master)
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
        os.close(master)
