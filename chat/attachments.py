"""Attachments of a chat message: code, files, diagnostics, terminal output; and code fences."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

AttachmentKind = Literal["selection", "file", "diagnostics", "terminal"]

_FENCE = re.compile(r"`{3,}")
_OPENING = re.compile(r"(?P<indent>\s*)(?P<fence>`{3,}|~{3,})[^`]*$")
_CLOSING = re.compile(r"(?P<indent> *)(?P<fence>`{3,}|~{3,})\s*")
_MAX_FENCE_INDENT = 3
_MAX_READINGS = 10
"""Maximum number of places at which a block may end."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """Text that the user attaches to a message."""

    kind: AttachmentKind
    label: str
    """The label that the editor shows, such as `server.py:10-20`."""
    text: str
    language: str = ""
    """The language's name in a markdown code fence."""


def with_attachments(text: str, attachments: Sequence[Attachment] = ()) -> str:
    """Return a message in markdown, with its attachments before the text."""
    blocks = [f"{each.label}:\n{fenced(each.text, each.language)}" for each in attachments]
    return "\n\n".join([*blocks, text])


def fenced(text: str, language: str = "") -> str:
    """Return text as a markdown code block. The fence is longer than any fence in the text."""
    fence = fence_for(text)
    return f"{fence}{language}\n{text.rstrip(chr(10))}\n{fence}"


def fence_for(text: str) -> str:
    """Return the shortest fence of backticks that no fence in the text can close."""
    longest = max((len(fence) for fence in _FENCE.findall(text)), default=2)
    return "`" * (longest + 1)


@dataclass(frozen=True, slots=True)
class CodeBlock:
    """A fenced code block of a message."""

    language: str
    """The first word after the opening fence, in lower case; empty if there is none."""
    lines: tuple[str, ...]
    """The lines as the message has them."""
    indent: int
    """The number of characters before the opening fence, as in a list."""

    @property
    def text(self) -> str:
        """The lines without the indentation of the fence."""
        indent = self.indent
        return "\n".join(line[:indent].lstrip() + line[indent:] for line in self.lines)


def code_blocks(markdown: str) -> list[str]:
    """Return the contents of the code blocks; see `fenced_blocks`."""
    return ["\n".join(block.lines) for block in fenced_blocks(markdown)]


def fenced_blocks(markdown: str) -> list[CodeBlock]:
    """Return the code blocks. The last one may be without a closing fence.

    As in CommonMark 0.31, "Fenced code blocks", a fence consists of backticks or tildes, and the
    closing one is at least as long and indented by at most three spaces. So a fence in a docstring
    is text. The block itself may be indented, as in a list.
    """
    blocks: list[CodeBlock] = []
    fence, language, indent, lines = "", "", 0, list[str]()
    for line in markdown.split("\n"):
        opening = _OPENING.match(line)
        if not fence and opening:
            fence, indent, lines = opening["fence"], len(opening["indent"]), []
            language = _language(line[opening.end("fence") :])
        elif fence and _closes(line, fence, indent):
            blocks.append(CodeBlock(language, tuple(lines), indent))
            fence = ""
        elif fence:
            lines.append(line)
    return [*blocks, CodeBlock(language, tuple(lines), indent)] if fence else blocks


def _language(info: str) -> str:
    """Return the language of an info string, such as `python title="a.py"` or `{.python}`."""
    words = info.strip("{}. \t\r").split(maxsplit=1)
    return words[0].rstrip("},").lower() if words else ""


def readings_of_block(answer: str, fence: str) -> list[str]:
    """Return what the code may be in an answer that continues a block which `fence` opened.

    The most probable reading comes first. Models close a block with a shorter fence than it was
    opened with, and code may contain fences. So each line that is only a fence may be the end. The
    caller knows which reading is code.
    """
    lines = answer.split("\n")
    if _OPENING.match(lines[0]):  # the model opened the block again
        lines = lines[1:]
    ends = [index for index, line in enumerate(lines) if _closes(line, "", 0)]
    exact = [index for index in ends if _closes(lines[index], fence, 0)]
    ends = [*exact, *(index for index in ends if index not in exact)][:_MAX_READINGS]
    return ["\n".join(lines[:end]) for end in [*ends, len(lines)]]


def _closes(line: str, fence: str, indent: int) -> bool:
    """Whether a line closes a block; with an empty `fence`, a block with any fence."""
    closing = _CLOSING.fullmatch(line)
    if closing is None or len(closing["indent"]) > indent + _MAX_FENCE_INDENT:
        return False
    closing_fence = closing["fence"]
    return not fence or (closing_fence[0] == fence[0] and len(closing_fence) >= len(fence))
