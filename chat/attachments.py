"""Attachments of a chat message: code, files, diagnostics, terminal output; and code fences."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

AttachmentKind = Literal["selection", "file", "diagnostics", "terminal"]

_FENCE = re.compile(r"`{3,}")


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
    longest = max((len(fence) for fence in _FENCE.findall(text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text.rstrip(chr(10))}\n{fence}"


def code_blocks(markdown: str) -> list[str]:
    """Return the contents of the code blocks. The last one may be without a closing fence."""
    blocks: list[str] = []
    fence, lines = "", list[str]()
    for line in markdown.split("\n"):
        opening = _FENCE.match(line.lstrip())
        if not fence and opening:
            fence, lines = opening[0], []
        elif fence and line.strip() == fence:
            blocks.append("\n".join(lines))
            fence = ""
        elif fence:
            lines.append(line)
    return [*blocks, "\n".join(lines)] if fence else blocks
