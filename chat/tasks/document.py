"""Document: a docstring or comment where the language wants it, filled in rather than asked for."""

from __future__ import annotations

import ast
import asyncio
import textwrap
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from chat.tasks.target import FileEdit, Proposal, Target
from engine.errors import RequestError
from syntax.grammars import count_errors, grammar_name
from syntax.symbols import Symbol


@dataclass(frozen=True, slots=True)
class FillRequest:
    """A place to fill."""

    path: Path
    language: str
    prefix: str
    suffix: str
    stop: tuple[str, ...]
    """What ends the middle and is not part of it."""


Fill = Callable[[FillRequest], Awaitable[str]]
"""Fills in the middle: handed in, since how that is asked is no matter of dialogues."""

_STARS = {
    "javascript",
    "typescript",
    "java",
    "c",
    "cpp",
    "c_sharp",
    "php",
    "kotlin",
    "scala",
    "swift",
}
_LINES = {"go": "//", "rust": "///", "ruby": "#", "bash": "#", "lua": "---"}


async def document(target: Target, fill: Fill) -> Proposal:
    """Propose documentation of the function or class at a place.

    Raises RequestError where it is documented already, or the language's way is not known.
    """
    symbol = await asyncio.to_thread(target.symbol)
    name = grammar_name(target.language) or ""
    if name == "python":
        edit = await _docstring(target, symbol, fill)
    elif name in _STARS:
        edit = await _starred(target, symbol, fill)
    elif name in _LINES:
        edit = await _lined(target, symbol, _LINES[name], fill)
    else:
        raise RequestError(f"How {target.language or 'this'} is documented is not known here.")
    if await asyncio.to_thread(_breaks, target, edit):
        raise RequestError("What the model wrote would break the file; it is not used.")
    return Proposal(f"Document {symbol.name}", (edit,))


def _breaks(target: Target, edit: FileEdit) -> bool:
    after = target.text[: edit.start] + edit.text + target.text[edit.end :]
    return (count_errors(after, target.language) or 0) > (
        count_errors(target.text, target.language) or 0
    )


async def _docstring(target: Target, symbol: Symbol, fill: Fill) -> FileEdit:
    if _has_docstring(symbol):
        raise RequestError(f"{symbol.name} has a docstring already.")
    line = target.text.rfind("\n", 0, symbol.body) + 1
    indent = target.text[line : symbol.body]
    if symbol.body == symbol.end or indent.strip():
        raise RequestError(f"The body of {symbol.name} is on the line of its signature.")
    prefix = f'{target.text[:line]}{indent}"""'
    suffix = f'"""\n{target.text[line:]}'
    text = await fill(FillRequest(target.path, target.language, prefix, suffix, ('"""',)))
    words = _words(text)
    if len(words) > 1:
        body = "\n".join(f"{indent}{one}" if one else "" for one in words[1:])
        return _insert(target, line, f'{indent}"""{words[0]}\n{body}\n{indent}"""\n')
    return _insert(target, line, f'{indent}"""{words[0]}"""\n')


def _has_docstring(symbol: Symbol) -> bool:
    try:
        (node,) = ast.parse(symbol.dedented).body
    except (SyntaxError, ValueError):
        return False
    known = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return isinstance(node, known) and ast.get_docstring(node) is not None


async def _starred(target: Target, symbol: Symbol, fill: Fill) -> FileEdit:
    line = _line_of(target, symbol, "*/")
    indent = symbol.indent
    prefix = f"{target.text[:line]}{indent}/**\n{indent} * "
    suffix = f"\n{indent} */\n{target.text[line:]}"
    text = await fill(FillRequest(target.path, target.language, prefix, suffix, ("*/",)))
    stripped = "\n".join(one.strip().removeprefix("*").strip() for one in text.split("\n"))
    body = "\n".join(f"{indent} * {one}".rstrip() for one in _words(stripped))
    return _insert(target, line, f"{indent}/**\n{body}\n{indent} */\n")


async def _lined(target: Target, symbol: Symbol, mark: str, fill: Fill) -> FileEdit:
    line = _line_of(target, symbol, mark)
    indent = symbol.indent
    # Go's tools want a comment to begin with the name.
    begun = f"{symbol.name} " if mark == "//" else ""
    prefix = f"{target.text[:line]}{indent}{mark} {begun}"
    suffix = f"\n{target.text[line:]}"
    text = await fill(FillRequest(target.path, target.language, prefix, suffix, ("\n\n",)))
    first, *rest = text.split("\n")
    kept = [first]
    for one in rest:
        if not one.strip().startswith(mark):
            break
        kept.append(one.strip().removeprefix(mark).strip())
    words = _words(begun + "\n".join(kept))
    return _insert(target, line, "".join(f"{indent}{mark} {one}".rstrip() + "\n" for one in words))


def _line_of(target: Target, symbol: Symbol, mark: str) -> int:
    """Return where the symbol's line begins; raises RequestError if a comment stands above it."""
    line = target.text.rfind("\n", 0, symbol.start) + 1
    above = target.text[:line].rstrip("\r\n").rsplit("\n", 1)[-1].strip()
    if above.endswith("*/") if mark == "*/" else above.startswith(mark):
        raise RequestError(f"{symbol.name} has a comment already.")
    return line


def _words(text: str) -> list[str]:
    """Return the lines of what was filled in, without indentation and empty lines at its ends."""
    first, *rest = text.strip().split("\n")
    lines = [first, *textwrap.dedent("\n".join(rest)).split("\n")] if rest else [first]
    lines = [one.rstrip() for one in lines]
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines or not any(character.isalpha() for character in lines[0]):
        raise RequestError("The model wrote nothing that says something.")
    return lines


def _insert(target: Target, at: int, text: str) -> FileEdit:
    made = text.replace("\n", "\r\n") if "\r\n" in target.text else text
    return FileEdit(target.path, at, at, made)
