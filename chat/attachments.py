"""What the user shows the model beside the question: code, files, diagnostics, a terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["selection", "file", "diagnostics", "terminal"]

_FENCE = re.compile(r"`{3,}")


@dataclass(frozen=True, slots=True)
class Attachment:
    """One of them."""

    kind: Kind
    label: str
    """As a chip shows it, such as `server.py:10-20`."""
    text: str
    language: str = ""


def message(text: str, attachments: Sequence[Attachment] = ()) -> str:
    """Return the user's message with what is attached before the question, as markdown."""
    shown = [f"{one.label}:\n{fenced(one.text, one.language)}" for one in attachments]
    return "\n\n".join([*shown, text])


def fenced(text: str, language: str = "") -> str:
    """Return text as a markdown code block, whatever fences it holds itself."""
    longest = max((len(found) for found in _FENCE.findall(text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text.rstrip(chr(10))}\n{fence}"


def code_blocks(markdown: str) -> list[str]:
    """Return the contents of code blocks; one that is still open counts up to where it got."""
    blocks: list[str] = []
    fence, lines = "", list[str]()
    for line in markdown.split("\n"):
        mark = re.match(r"`{3,}", line.lstrip())
        if not fence and mark:
            fence, lines = mark[0], []
        elif fence and line.strip() == fence:
            blocks.append("\n".join(lines))
            fence = ""
        elif fence:
            lines.append(line)
    return [*blocks, "\n".join(lines)] if fence else blocks
