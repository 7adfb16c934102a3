"""Slash commands: short names for frequent questions about the attached code."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches

from engine.errors import RequestError


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
    SlashCommand(
        "tests", "Write tests for the selection or function", "Write tests for this code."
    ),
    SlashCommand(
        "explain", "Explain what the selection or function does", "What does this code do?"
    ),
    SlashCommand(
        "document",
        "Document the selection or function",
        "Write the documentation of this code.",
    ),
    SlashCommand(
        "fix",
        "Find what is wrong in the selection or function, and correct it",
        "Find what is wrong here and correct it.",
    ),
    SlashCommand(
        "review",
        "Suggest improvements of the selection or function",
        "Review this code: what could be better?",
    ),
    SlashCommand(
        "translate",
        "Translate the selection or function to another programming language",
        "Translate this code to another programming language:",
    ),
)

_COMMANDS = {command.name: command for command in COMMANDS}
_WORD = re.compile(r"/([^\W\d_][\w-]*)([:,.;!?]?)(?=\s|$)")
_FOLDERS = frozenset(
    {
        "bin",
        "boot",
        "dev",
        "etc",
        "home",
        "lib",
        "media",
        "mnt",
        "opt",
        "proc",
        "root",
        "run",
        "sbin",
        "srv",
        "sys",
        "tmp",
        "usr",
        "var",
        "applications",
        "library",
        "system",
        "users",
        "volumes",
    }
)
"""Folders of the root directory on Linux (Filesystem Hierarchy Standard) and macOS.

So `/tmp is full` is not an unknown command.
"""
_MIN_SIMILARITY = 0.6


@dataclass(frozen=True, slots=True)
class SlashMessage:
    """A message that begins with a slash command."""

    command: SlashCommand
    rest: str
    """The user's own words after the command."""


def parse_slash(text: str) -> SlashMessage | None:
    """Return the slash command that a message begins with, None if it begins with other text.

    A path, a comment of a programming language and a regular expression are other text: after the
    slash a command has only letters, up to white space. Raises RequestError for a word that is no
    command; it names the most similar one.
    """
    message = _find(text)
    if message is not None:
        return message
    match = _WORD.match(text)
    if match is None or match[2] or match[1].lower() in _FOLDERS:
        return None
    similar = _similar(match[1].lower())
    if similar:
        advice = f"Did you mean /{similar}?"
    else:
        advice = f"The commands are {', '.join(f'/{name}' for name in _COMMANDS)}."
    raise RequestError(
        f"There is no command /{match[1]}. {advice} To send it as text, put a space before it."
    )


def expand(text: str) -> str:
    """Return a message with the prompt of its slash command in place of the command.

    Text that does not begin with a command of this list is returned unchanged.
    """
    message = _find(text)
    return text if message is None else f"{message.command.prompt} {message.rest}".strip()


def _find(text: str) -> SlashMessage | None:
    match = _WORD.match(text)
    command = _COMMANDS.get(match[1].lower()) if match else None
    if match is None or command is None:
        return None
    return SlashMessage(command, text[match.end() :].strip())


def _similar(word: str) -> str | None:
    """Return the command that a word begins, or the most similar one; None if there is none."""
    prefixed = [name for name in _COMMANDS if len(word) > 1 and name.startswith(word)]
    matches = prefixed or get_close_matches(word, _COMMANDS, 1, _MIN_SIMILARITY)
    return matches[0] if matches else None
