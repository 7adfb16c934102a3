"""Slash commands: short names for frequent questions about the attached code."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SlashCommand:
    """A slash command."""

    name: str
    description: str
    """The description that the editor shows in its list."""
    prompt: str
    """The text that the model gets instead of the command.

    Where possible it has the words of the training dialogues (`training.dialogues`).
    """


COMMANDS = (
    SlashCommand("tests", "Write tests for the selection", "Write tests for this code."),
    SlashCommand("explain", "Explain what the selection does", "What does this code do?"),
    SlashCommand("document", "Document the selection", "Write the documentation of this code."),
    SlashCommand(
        "fix", "Find what is wrong and correct it", "Find what is wrong here and correct it."
    ),
    SlashCommand("review", "Suggest improvements", "Review this code: what could be better?"),
)

_COMMAND = re.compile(r"/(\w+)(?:\s+|$)")
_PROMPTS = {command.name: command.prompt for command in COMMANDS}


def expand(text: str) -> str:
    """Return a message with the prompt of its slash command in place of the command.

    Text that does not begin with a command of this list is returned unchanged.
    """
    match = _COMMAND.match(text)
    prompt = _PROMPTS.get(match[1]) if match else None
    if match is None or prompt is None:
        return text
    rest = text[match.end() :].strip()
    return f"{prompt} {rest}".strip()
