"""The tasks that are answered and edit nothing: explain, review, translate, and commit messages."""

from __future__ import annotations

import asyncio
import re

from chat.asker import Asker
from chat.attachments import fence_for, fenced, readings_of_block
from chat.tasks.region import Region, region_of
from chat.tasks.target import Proposal, Target
from engine.api import Message
from engine.errors import PromptTooLongError, RequestError
from syntax.grammars import grammar_name

_MIN_DIFF_CHARACTERS = 400
_MAX_TITLE_CHARACTERS = 60
_FENCE_NAMES = {"c++": "cpp", "c#": "csharp", "shell": "bash"}
"""Names in markdown code fences of languages whose usual names are different."""
_FENCE_NAME = re.compile(r"[a-z0-9]+")


async def explain(target: Target, asker: Asker) -> Proposal:
    """Return an explanation of the code at the target, as the note of a proposal.

    Raises RequestError if there is no code, or if the model wrote nothing.
    """
    region = await asyncio.to_thread(_region, target, "explain")
    # These are the words of the training dialogues.
    question = f"What does {_subject(region)} do? {target.instruction}".strip()
    return Proposal("Explanation", (), await _answer(question, region, target, asker))


async def review(target: Target, asker: Asker) -> Proposal:
    """Return a review of the code at the target, as the note of a proposal.

    Raises RequestError if there is no code, or if the model wrote nothing.
    """
    region = await asyncio.to_thread(_region, target, "review")
    question = f"Review {_subject(region)}: what could be better? {target.instruction}".strip()
    return Proposal("Review", (), await _answer(question, region, target, asker))


async def translate(target: Target, asker: Asker) -> Proposal:
    """Return the code at the target in the language that the instruction names.

    The note of the proposal is a code block. Raises RequestError without a language or code, or if
    the model wrote nothing.
    """
    language = " ".join(target.instruction.split())
    if not language:
        raise RequestError("Name the programming language to translate to.")
    region = await asyncio.to_thread(_region, target, "translate")
    prompt = f"Translate {_subject(region)} to {language}.\n{_code(region, target)}"
    fence, fence_name = fence_for(region.text), _fence_name(language)
    begin = f"{fence}{fence_name}\n"
    answer = await asker.ask([Message("user", prompt)], begin, stop=(f"\n{fence}",))
    code = readings_of_block(answer.text, fence)[0]
    if not code.strip():
        raise RequestError("The model wrote no code. Try again.")
    note = fenced(code, fence_name)
    if not answer.is_complete:
        note += "\n\nThe translation ends here because it reached `starcoder.chatMaxNewTokens`."
    return Proposal(f"Translation to {language[:_MAX_TITLE_CHARACTERS]}", (), note)


def _region(target: Target, verb: str) -> Region:
    """Return the code at the target; raises RequestError if there is none."""
    region = region_of(target)
    if not region.text.strip():
        raise RequestError(f"There is no code here to {verb}.")
    return region


def _subject(region: Region) -> str:
    return f"`{region.name}`" if region.name else "this code"


def _code(region: Region, target: Target) -> str:
    return fenced(region.text, grammar_name(target.language) or target.language)


def _fence_name(language: str) -> str:
    """Return a language's name in a code fence, empty for words that are not only its name."""
    name = _FENCE_NAMES.get(language.lower(), language.lower())
    return name if _FENCE_NAME.fullmatch(name) else ""


async def _answer(question: str, region: Region, target: Target, asker: Asker) -> str:
    """Return the answer to a question about code; raises RequestError if it is empty."""
    answer = await asker.ask([Message("user", f"{question}\n{_code(region, target)}")])
    if not answer.text.strip():
        raise RequestError("The model had nothing to say. Ask again with an instruction.")
    return answer.text.strip()


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
