"""Slash commands: short words for what is asked often, about what is attached."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SlashCommand:
    """One of them."""

    name: str
    description: str
    """For the list that a panel shows."""
    request: str
    """What the model is asked; the words are those of the recipe's dialogues where it has them."""


COMMANDS = (
    SlashCommand("tests", "Write tests for the selection", "Write tests for this code."),
    SlashCommand("explain", "Say what the selection does", "What does this code do?"),
    SlashCommand("document", "Document the selection", "Write the documentation of this code."),
    SlashCommand(
        "fix", "Find what is wrong and mend it", "Find what is wrong here and correct it."
    ),
    SlashCommand("review", "Say what could be better", "Review this code: what could be better?"),
)

_BEGINNING = re.compile(r"/(\w+)(?:\s+|$)")


def expand(text: str) -> str:
    """Return what a message asks: a command's request and what was written behind it.

    Text that begins with no known command is returned as it is.
    """
    found = _BEGINNING.match(text)
    known = next((one for one in COMMANDS if found and one.name == found[1]), None)
    if found is None or known is None:
        return text
    rest = text[found.end() :].strip()
    return f"{known.request} {rest}".strip()
