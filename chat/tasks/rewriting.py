"""Fix and edit: the code under the cursor written anew, put in place of the old if it parses."""

from __future__ import annotations

import asyncio
import textwrap
from dataclasses import dataclass

from chat.asker import Asker
from chat.attachments import code_blocks, fenced
from chat.tasks.target import FileEdit, Proposal, Target
from engine.api import Message
from engine.errors import RequestError
from syntax.grammars import count_errors, grammar_name
from syntax.symbols import enclosing_symbol, find_symbols


@dataclass(frozen=True, slots=True)
class Region:
    """Whole lines of a file."""

    start: int
    end: int
    text: str
    """Without its last line end and without the indentation around it."""
    indent: str
    name: str
    """Of the function or class that it is, empty for other lines."""


def region_of(target: Target) -> Region:
    """Return the selected lines; without a selection the function or class, or the line."""
    symbol = enclosing_symbol(target.text, target.language, target.start, target.end)
    selected = target.start != target.end
    if symbol is not None and not selected:
        start, end, name = symbol.start, symbol.end, symbol.name
    else:
        start, end, name = target.start, target.end, ""
    # A selection that ends at the beginning of a line does not mean that line.
    if selected and end > start and target.text[end - 1] == "\n":
        end -= 1
    start = target.text.rfind("\n", 0, start) + 1
    found = target.text.find("\n", end)
    end = len(target.text) if found < 0 else found
    if target.text[start:end].endswith("\r"):
        end -= 1
    lines = target.text[start:end].replace("\r\n", "\n")
    text = textwrap.dedent(lines)
    first = next((line for line in lines.split("\n") if line.strip()), "")
    indent = first[: len(first) - len(first.lstrip())] if text != lines else ""
    return Region(start, end, text, indent, name)


async def fix(target: Target, asker: Asker) -> Proposal:
    """Propose the code without the problems that the editor shows there.

    Raises RequestError where there are none, or the model found no code that parses.
    """
    if not target.problems:
        raise RequestError("There is no problem here to fix.")
    region = await asyncio.to_thread(region_of, target)
    problems = "\n".join(f"- {one}" for one in dict.fromkeys(target.problems))
    code = fenced(region.text, _name(target))
    request = (
        f"This {_name(target)} code has problems:\n{problems}\n{code}\n"
        f"Write the corrected code, nothing else. {target.instruction}".strip()
    )
    title = f"Fix {region.name or 'these lines'}: {target.problems[0][:60]}"
    return await _rewritten(target, region, asker, request, title)


async def edit(target: Target, asker: Asker) -> Proposal:
    """Propose the code changed as the instruction says.

    A base StarCoder is asked by its commit tokens, a model that knows dialogues in one. Raises
    RequestError without an instruction, or where the model found no code that parses.
    """
    if not target.instruction.strip():
        raise RequestError("Say what to change.")
    region = await asyncio.to_thread(region_of, target)
    title = f"Edit {region.name or 'these lines'}: {target.instruction.strip()[:60]}"
    if await asker.knows_commits_only():
        answered = await asker.commit(region.text, target.instruction.strip())
        return await asyncio.to_thread(_proposal, target, region, answered.text, title)
    request = (
        f"{target.instruction.strip()}\n{fenced(region.text, _name(target))}\n"
        "Write the changed code, nothing else."
    )
    return await _rewritten(target, region, asker, request, title)


async def _rewritten(
    target: Target, region: Region, asker: Asker, request: str, title: str
) -> Proposal:
    begun = f"```{_name(target)}\n"
    answered = await asker.ask([Message("user", request)], begun, stop=("\n```",))
    if not answered.is_complete:
        raise RequestError(
            "The answer was cut off before its end. Select fewer lines, or set chatMaxNewTokens "
            "higher."
        )
    code = code_blocks(f"```\n{answered.text}") or [""]
    return await asyncio.to_thread(_proposal, target, region, code[0], title)


def _proposal(target: Target, region: Region, code: str, title: str) -> Proposal:
    code = textwrap.dedent(code).strip("\n")
    if not code.strip() or code.strip() == region.text.strip():
        raise RequestError("The model changed nothing.")
    made = "\n".join(region.indent + line if line.strip() else "" for line in code.split("\n"))
    made = made.replace("\n", "\r\n") if "\r\n" in target.text else made
    after = target.text[: region.start] + made + target.text[region.end :]
    if (count_errors(after, target.language) or 0) > (
        count_errors(target.text, target.language) or 0
    ):
        raise RequestError("The model's answer does not parse; it is not used.")
    if region.name and region.name not in [one.name for one in find_symbols(code, target.language)]:
        raise RequestError(f"The model's answer has no {region.name} any more; it is not used.")
    return Proposal(title, (FileEdit(target.path, region.start, region.end, made),))


def _name(target: Target) -> str:
    return grammar_name(target.language) or target.language
