"""Output of programs that are not trusted, as text and figures."""

import struct
import zlib

import pytest

from chat.running.output import (
    MAX_FIGURE_BYTES,
    MAX_FIGURES,
    MAX_TEXT,
    is_acceptable_png,
    shown_text,
    split_output,
)

MARK = "4a" * 16


def chunk(kind: bytes, data: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + checksum


def png(width: int = 2, height: int = 2, more: bytes = b"") -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\0\1\2" * 2) + more)
    return b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b"")


def marked(figure: bytes) -> bytes:
    return MARK.encode() + b"%08x" % len(figure) + figure


def test_figures_are_taken_out_of_the_text() -> None:
    output = b"before\n" + marked(png()) + b"between\n" + marked(png(3, 1)) + b"after\n"
    assert split_output(output, MARK) == ("before\nbetween\nafter", (png(), png(3, 1)))


@pytest.mark.parametrize(
    "figure",
    [
        b"<svg onload='alert(1)'/>",
        png()[:-1],
        png()[1:],
        png() + b"<script>",
        png(8001, 1),
        png(1, 8001),
        png(0, 1),
        png(4001, 4000),
        png(more=bytes(MAX_FIGURE_BYTES)),
    ],
    ids=["no PNG", "cut", "no start", "more", "wide", "high", "empty", "many pixels", "large"],
)
def test_a_picture_that_could_harm_is_not_shown(figure: bytes) -> None:
    assert not is_acceptable_png(figure)
    assert split_output(b"a" + marked(figure) + b"b", MARK) == ("ab", ())


def test_the_largest_pictures_are_shown() -> None:
    assert is_acceptable_png(png(4000, 4000))
    assert is_acceptable_png(png(8000, 1))


def test_no_more_figures_than_allowed_are_shown() -> None:
    text, figures = split_output(marked(png()) * (MAX_FIGURES + 1), MARK)
    assert (text, len(figures)) == ("", MAX_FIGURES)


@pytest.mark.parametrize("size", [b"0000", b"zzzzzzzz", b"ffffffff", b""])
def test_a_wrong_size_gives_no_figure(size: bytes) -> None:
    assert split_output(b"a" + MARK.encode() + size, MARK)[1] == ()


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07a\x1b]8;;http://x\x1b\\b\x1b]open", "abopen"),
        ("10%\r50%\r100%\ndone\r\n", "100%\ndone"),
        ("a\x00\x08\x7f\x9b1mb\x1bc", "a1mb"),
        ("\tgr\u00fc\u00df \U0001f389\n\n", "\tgr\u00fc\u00df \U0001f389"),
    ],
)
def test_escapes_and_control_characters_are_removed(written: str, shown: str) -> None:
    assert shown_text(written.encode()) == shown


def test_a_long_output_keeps_its_begin_and_its_end() -> None:
    text = shown_text(b"begin" + b"x" * MAX_TEXT + b"\xf0\x9f end")
    assert text.startswith("beginx")
    assert text.endswith("x\ufffd end")
    assert "[11 bytes in the middle of the output are not shown.]" in text
    assert shown_text(b"x" * MAX_TEXT) == "x" * MAX_TEXT
