"""The tasks that rewrite code: fix and edit. A rewrite that does not parse is not proposed."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence

from chat.asker import Asker
from chat.attachments import fence_for, fenced, readings_of_block
from chat.tasks.region import Region, placed, region_of
from chat.tasks.target import Proposal, Target
from engine.api import Message
from engine.errors import RequestError
from syntax.damage import Damage, examine_edit
from syntax.grammars import grammar_name

_MAX_TITLE_CHARACTERS = 60
_FIRST_LINE = re.compile(r"\s*(?:<\?php|package [\w.]+;?)[^\S\n]*\n")
_SEPARATORS = {",", ";"}


async def fix(target: Target, asker: Asker) -> Proposal:
    """Propose a rewrite without the problems that the editor shows.

    Raises RequestError if there are no problems, or if the model's code cannot be used.
    """
    if not target.problems:
        raise RequestError("There is no problem here to fix.")
    region = await asyncio.to_thread(region_of, target)
    problems = "\n".join(f"- {problem}" for problem in dict.fromkeys(target.problems))
    language = _language_name(target)
    prompt = (
        f"This {language} code has problems:\n{problems}\n{fenced(region.text, language)}\n"
        f"Write the corrected code, nothing else. {target.instruction}".strip()
    )
    problem = target.problems[0][:_MAX_TITLE_CHARACTERS]
    title = f"Fix {region.name or 'these lines'}: {problem}"
    return await _rewrite(target, region, asker, prompt, title)


async def edit(target: Target, asker: Asker) -> Proposal:
    """Propose a rewrite that follows the user's instruction.

    A base StarCoder is asked with its commit tokens, other models with a chat prompt. Raises
    RequestError if there is no instruction, or if the model's code cannot be used.
    """
    instruction = target.instruction.strip()
    if not instruction:
        raise RequestError("The instruction is empty. Describe the change.")
    region = await asyncio.to_thread(region_of, target)
    title = f"Edit {region.name or 'these lines'}: {instruction[:_MAX_TITLE_CHARACTERS]}"
    if await asker.needs_commit_format():
        answer = await asker.ask_commit(region.text, instruction)
        return await asyncio.to_thread(_proposal, target, region, answer.text, title)
    prompt = (
        f"{instruction}\n{fenced(region.text, _language_name(target))}\n"
        "Write the changed code, nothing else."
    )
    return await _rewrite(target, region, asker, prompt, title)


async def _rewrite(
    target: Target, region: Region, asker: Asker, prompt: str, title: str
) -> Proposal:
    fence = fence_for(region.text)
    begin = f"{fence}{_language_name(target)}\n"
    answer = await asker.ask([Message("user", prompt)], begin, stop=(f"\n{fence}",))
    if not answer.is_complete:
        raise RequestError(
            "The answer was cut off before its end. Select fewer lines, or increase "
            "chatMaxNewTokens."
        )
    codes = readings_of_block(answer.text, fence)
    return await asyncio.to_thread(_first_usable, target, region, codes, title)


def _first_usable(target: Target, region: Region, codes: Sequence[str], title: str) -> Proposal:
    """Return the proposal of the first code that can be used; raises RequestError if none can."""
    first_error: RequestError | None = None
    for code in codes:
        try:
            return _proposal(target, region, code, title)
        except RequestError as error:
            first_error = first_error or error
    raise first_error or RequestError("The model wrote no code. Try again.")


def _proposal(target: Target, region: Region, code: str, title: str) -> Proposal:
    """Return the edit that replaces the region; raises RequestError if the code is not usable."""
    text = placed(_without_surroundings(code, region, target), region, target)
    if not text.strip() or text.strip() == target.text[region.start : region.end].strip():
        raise RequestError("The model changed nothing. Try again with an instruction.")
    edited = examine_edit(target.text, target.language, region.start, region.end, text)
    if edited.damage is Damage.SYNTAX:
        raise RequestError("The model's code does not parse, so it is not used. Try again.")
    if edited.damage is Damage.STRUCTURE:
        raise RequestError(
            "The model's code does not fit between the functions around it, so it is not used. "
            "Try again, or select whole functions."
        )
    if region.name and (*region.parents, region.name) not in edited.inside:
        raise RequestError(
            f"The model's code does not define {region.name} any more, so it is not used. Try "
            "again."
        )
    return Proposal(title, (target.edit(region.start, region.end, text),))


def _without_surroundings(code: str, region: Region, target: Target) -> str:
    """Return code without what models add to a definition, and what the file has around it.

    This is the line that begins a file (`package a`), and the separator after the definition.
    Grammars accept both twice, but compilers do not.
    """
    if not region.name:
        return code
    first_lines = _FIRST_LINE.match(code)
    if first_lines and region.start > 0 and not _FIRST_LINE.match(region.text):
        code = code[first_lines.end() :]
    separator = target.text[region.end : region.end + 1]
    stripped = code.rstrip()
    is_twice = separator in _SEPARATORS and separator != "" and stripped.endswith(separator)
    return stripped.removesuffix(separator) if is_twice else code


def _language_name(target: Target) -> str:
    """Return the language's name in prompts and code fences."""
    return grammar_name(target.language) or target.language
