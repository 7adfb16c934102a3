"""What a program wrote, as text and figures that can be shown. The program is not trusted."""

from __future__ import annotations

import re

MAX_FIGURES = 8
MAX_FIGURE_BYTES = 4 << 20
MAX_TEXT = 64 << 10
"""Maximum number of bytes of the text that is shown."""

_SIZE_DIGITS = 8
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER = b"\x00\x00\x00\rIHDR"
"""The length and the type of the chunk with which a PNG begins (PNG, third edition, 11.2.1)."""
_PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
_MAX_SIDE = 8000
_MAX_PIXELS = 16_000_000
"""Limits for the size of a figure: the editor needs four bytes for each pixel, whatever its file
has."""

_ESCAPE = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # ECMA-48: control sequences
    r"|\x1b[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)"  # strings, such as titles and links
    r"|\x1b[ -/]*[0-~]?"
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_HEAD = MAX_TEXT * 3 // 4


def split_output(output: bytes, mark: str) -> tuple[str, tuple[bytes, ...]]:
    """Return the text and the figures of an output in which `mark` precedes each figure.

    What a mark precedes and is no PNG of an acceptable size is left out.
    """
    text, *parts = output.split(mark.encode())
    figures: list[bytes] = []
    for part in parts:
        digits = part[:_SIZE_DIGITS]
        size = int(digits, 16) if re.fullmatch(rb"[0-9a-f]{8}", digits) else 0
        data = part[_SIZE_DIGITS : _SIZE_DIGITS + size]
        text += part[_SIZE_DIGITS + size :]
        if len(figures) < MAX_FIGURES and is_acceptable_png(data):
            figures.append(data)
    return shown_text(text), tuple(figures)


def is_acceptable_png(data: bytes) -> bool:
    """Return whether data is a PNG that an editor can show without much memory."""
    start = len(_PNG_SIGNATURE) + len(_HEADER)
    if data[:start] != _PNG_SIGNATURE + _HEADER or not data.endswith(_PNG_END):
        return False
    width = int.from_bytes(data[start : start + 4], "big")
    height = int.from_bytes(data[start + 4 : start + 8], "big")
    fits = 0 < width <= _MAX_SIDE and 0 < height <= _MAX_SIDE and width * height <= _MAX_PIXELS
    return fits and len(data) <= MAX_FIGURE_BYTES


def shown_text(output: bytes) -> str:
    """Return output as text without control characters, and without its middle if it is long."""
    if len(output) <= MAX_TEXT:
        return _clean(output)
    num_left_out = len(output) - MAX_TEXT
    note = f"[{num_left_out:,} bytes in the middle of the output are not shown.]"
    return f"{_clean(output[:_HEAD])}\n{note}\n{_clean(output[_HEAD - MAX_TEXT :])}"


def _clean(output: bytes) -> str:
    text = _ESCAPE.sub("", output.decode("utf-8", "replace"))
    # What is written after a carriage return replaces the line, as in a bar of progress.
    lines = (line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    return _CONTROL.sub("", "\n".join(lines)).strip("\n")
