"""The tasks that rewrite code: fix and edit. A rewrite that does not parse is not proposed."""

from __future__ import annotations

import asyncio
import textwrap
from dataclasses import dataclass

from chat.asker import Asker
from chat.attachments import code_blocks, fenced
from chat.tasks.target import Proposal, Target
from engine.api import Message
from engine.errors import RequestError
from syntax.grammars import count_errors, grammar_name
from syntax.symbols import enclosing_symbol, find_symbols

_MAX_TITLE_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class Region:
    """Whole lines of a file."""

    start: int
    """Offset of the first line, in code points."""
    end: int
    """Offset of the end of the last line, without its line end."""
    text: str
    """The lines, dedented and without the last line end."""
    indent: str
    """The indentation that was removed."""
    name: str
    """Name of the function or class that the region is, empty for other lines."""


def region_of(target: Target) -> Region:
    """Return the selected lines; without a selection, the function or class, else the line."""
    symbol = enclosing_symbol(target.text, target.language, target.start, target.end)
    has_selection = target.start != target.end
    if symbol is not None and not has_selection:
        start, end, name = symbol.start, symbol.end, symbol.name
    else:
        start, end, name = target.start, target.end, ""
    # A selection that ends at the beginning of a line does not include that line.
    if has_selection and end > start and target.text[end - 1] == "\n":
        end -= 1
    start = target.text.rfind("\n", 0, start) + 1
    line_end = target.text.find("\n", end)
    end = len(target.text) if line_end < 0 else line_end
    if target.text[start:end].endswith("\r"):
        end -= 1
    lines = target.text[start:end].replace("\r\n", "\n")
    text = textwrap.dedent(lines)
    first = next((line for line in lines.split("\n") if line.strip()), "")
    indent = first[: len(first) - len(first.lstrip())] if text != lines else ""
    return Region(start, end, text, indent, name)


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
    begin = f"```{_language_name(target)}\n"
    answer = await asker.ask([Message("user", prompt)], begin, stop=("\n```",))
    if not answer.is_complete:
        raise RequestError(
            "The answer was cut off before its end. Select fewer lines, or increase "
            "chatMaxNewTokens."
        )
    blocks = code_blocks(f"```\n{answer.text}") or [""]
    return await asyncio.to_thread(_proposal, target, region, blocks[0], title)


def _proposal(target: Target, region: Region, code: str, title: str) -> Proposal:
    """Return the edit that replaces the region; raises RequestError if the code is not usable."""
    code = textwrap.dedent(code).strip("\n")
    if not code.strip() or code.strip() == region.text.strip():
        raise RequestError("The model changed nothing. Try again with an instruction.")
    text = "\n".join(region.indent + line if line.strip() else "" for line in code.split("\n"))
    text = text.replace("\n", "\r\n") if "\r\n" in target.text else text
    after = target.text[: region.start] + text + target.text[region.end :]
    num_errors_before = count_errors(target.text, target.language) or 0
    if (count_errors(after, target.language) or 0) > num_errors_before:
        raise RequestError("The model's code does not parse, so it is not used. Try again.")
    names = [symbol.name for symbol in find_symbols(code, target.language)]
    if region.name and region.name not in names:
        raise RequestError(
            f"The model's code does not define {region.name} any more, so it is not used. Try "
            "again."
        )
    return Proposal(title, (target.edit(region.start, region.end, text),))


def _language_name(target: Target) -> str:
    """Return the language's name in prompts and code fences."""
    return grammar_name(target.language) or target.language
