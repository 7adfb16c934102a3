"""Explain code, and write the message of a commit: answers in words."""

from __future__ import annotations

import asyncio

from chat.asker import Asker
from chat.attachments import fenced
from chat.tasks.rewriting import region_of
from chat.tasks.target import Proposal, Target
from engine.api import Message
from engine.errors import PromptTooLongError, RequestError
from syntax.grammars import grammar_name

_SHORTEST_DIFF = 400


def question(target: Target) -> str:
    """Return what to ask about the code at a place, in the words of the recipe's dialogues.

    Raises RequestError where there is no code.
    """
    region = region_of(target)
    if not region.text.strip():
        raise RequestError("There is no code here to explain.")
    what = f"`{region.name}`" if region.name else "this code"
    name = grammar_name(target.language) or target.language
    asked = f"What does {what} do? {target.instruction}".strip()
    return f"{asked}\n{fenced(region.text, name)}"


async def explain(target: Target, asker: Asker) -> Proposal:
    """Answer what the code at a place does."""
    asked = await asyncio.to_thread(question, target)
    answered = await asker.ask([Message("user", asked)])
    if not answered.text.strip():
        raise RequestError("The model had nothing to say.")
    return Proposal("Explanation", (), answered.text.strip())


async def commit_message(diff: str, asker: Asker, instruction: str = "") -> str:
    """Return a message for staged changes: a subject of one line, and a body where there is one.

    A diff that is longer than the model's window is cut; raises RequestError for an empty one.
    """
    if not diff.strip():
        raise RequestError("Nothing is staged: choose with `git add` what to commit.")
    while True:
        request = f"Write a git commit message for this change. {instruction}".strip()
        try:
            messages = [Message("user", f"{request}\n{fenced(diff, 'diff')}")]
            answered = await asker.ask(messages)
        except PromptTooLongError:
            if len(diff) <= _SHORTEST_DIFF:
                raise
            diff = diff[: len(diff) * 2 // 3]
            continue
        return _cleaned(answered.text)


def _cleaned(text: str) -> str:
    """Return a message without what models put around it: fences, quotes, an introduction."""
    lines = [line.rstrip() for line in text.strip().split("\n")]
    lines = [line for line in lines if not line.startswith("```")]
    while lines and (not lines[0] or lines[0].endswith(":")):
        lines.pop(0)
    if not lines:
        raise RequestError("The model wrote no message.")
    subject = lines[0].strip("\"'`").removeprefix("Subject:").strip()
    body = "\n".join(lines[1:]).strip()
    return f"{subject}\n\n{body}" if body else subject
