"""The tasks that are answered in words: explain code, and write a commit message."""

from __future__ import annotations

import asyncio

from chat.asker import Asker
from chat.attachments import fenced
from chat.tasks.region import region_of
from chat.tasks.target import Proposal, Target
from engine.api import Message
from engine.errors import PromptTooLongError, RequestError
from syntax.grammars import grammar_name

_MIN_DIFF_CHARACTERS = 400


async def explain(target: Target, asker: Asker) -> Proposal:
    """Return an explanation of the code at the target, as the note of a proposal.

    Raises RequestError if there is no code, or if the model wrote nothing.
    """
    prompt = await asyncio.to_thread(_explain_prompt, target)
    answer = await asker.ask([Message("user", prompt)])
    if not answer.text.strip():
        raise RequestError("The model had nothing to say. Ask again with an instruction.")
    return Proposal("Explanation", (), answer.text.strip())


def _explain_prompt(target: Target) -> str:
    """Return the question about the code, in the words of the training dialogues."""
    region = region_of(target)
    if not region.text.strip():
        raise RequestError("There is no code here to explain.")
    subject = f"`{region.name}`" if region.name else "this code"
    question = f"What does {subject} do? {target.instruction}".strip()
    return f"{question}\n{fenced(region.text, grammar_name(target.language) or target.language)}"


async def commit_message(diff: str, asker: Asker, instruction: str = "") -> str:
    """Return a commit message for staged changes: a subject line, and possibly a body.

    A diff that is too long for the model's window is truncated. Raises RequestError for an empty
    diff, or if the model wrote no message.
    """
    if not diff.strip():
        raise RequestError("Nothing is staged. Stage the changes to commit with `git add`.")
    while True:
        task = f"Write a git commit message for this change. {instruction}".strip()
        try:
            answer = await asker.ask([Message("user", f"{task}\n{fenced(diff, 'diff')}")])
        except PromptTooLongError:
            if len(diff) <= _MIN_DIFF_CHARACTERS:
                raise
            diff = diff[: len(diff) * 2 // 3]
            continue
        return _clean_message(answer.text)


def _clean_message(text: str) -> str:
    """Return a commit message without the fences, quotes and introduction that models add."""
    lines = [line.rstrip() for line in text.strip().split("\n")]
    lines = [line for line in lines if not line.startswith("```")]
    while lines and (not lines[0] or lines[0].endswith(":")):
        lines.pop(0)
    if not lines:
        raise RequestError("The model wrote no message. Try again, or add an instruction.")
    subject = lines[0].strip("\"'`").removeprefix("Subject:").strip()
    body = "\n".join(lines[1:]).strip()
    return f"{subject}\n\n{body}" if body else subject
