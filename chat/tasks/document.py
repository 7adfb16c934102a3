"""The task that documents a function or class, by fill-in-the-middle instead of a chat prompt."""

from __future__ import annotations

import ast
import asyncio
import textwrap
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from chat.tasks.target import DocumentEdit, Proposal, Target
from engine.errors import RequestError
from syntax.grammars import count_errors, grammar_name
from syntax.symbols import Symbol


@dataclass(frozen=True, slots=True)
class FillRequest:
    """A request to generate the text between a prefix and a suffix."""

    language: str
    """The LSP language id of the document."""
    prefix: str
    suffix: str
    stop: tuple[str, ...]
    """Strings that end the generated text and are not part of it."""


Fill = Callable[[FillRequest], Awaitable[str]]
"""Function that generates the text of a FillRequest; passed in, since chat must not import fim."""

_STAR_COMMENT_LANGUAGES = {
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
"""Grammars of languages that are documented by `/** ... */`."""
_LINE_COMMENT_MARKS = {"go": "//", "rust": "///", "ruby": "#", "bash": "#", "lua": "---"}


async def document(target: Target, fill: Fill) -> Proposal:
    """Propose documentation of the function or class at the target.

    Raises RequestError if the symbol is already documented, or if the language is not supported.
    """
    symbol = await asyncio.to_thread(target.symbol)
    language = grammar_name(target.language) or ""
    if language == "python":
        edit = await _docstring(target, symbol, fill)
    elif language in _STAR_COMMENT_LANGUAGES:
        edit = await _star_comment(target, symbol, fill)
    elif language in _LINE_COMMENT_MARKS:
        edit = await _line_comment(target, symbol, _LINE_COMMENT_MARKS[language], fill)
    else:
        raise RequestError(f"Documenting {target.language or 'this language'} is not supported.")
    if await asyncio.to_thread(_adds_errors, target, edit):
        raise RequestError(
            "The file would not parse with the documentation that the model wrote, so it is not "
            "used. Try again with a larger model."
        )
    return Proposal(f"Document {symbol.name}", (edit,))


def _adds_errors(target: Target, edit: DocumentEdit) -> bool:
    """Whether the file has more syntax errors after the edit."""
    after = target.text[: edit.start] + edit.text + target.text[edit.end :]
    num_errors_before = count_errors(target.text, target.language) or 0
    return (count_errors(after, target.language) or 0) > num_errors_before


async def _docstring(target: Target, symbol: Symbol, fill: Fill) -> DocumentEdit:
    if _has_docstring(symbol):
        raise RequestError(f"{symbol.name} has a docstring already.")
    line_start = target.text.rfind("\n", 0, symbol.body) + 1
    indent = target.text[line_start : symbol.body]
    if symbol.body == symbol.end or indent.strip():
        raise RequestError(
            f"The body of {symbol.name} is on the line of its signature. Put it on a line of its "
            "own first."
        )
    prefix = f'{target.text[:line_start]}{indent}"""'
    suffix = f'"""\n{target.text[line_start:]}'
    text = await fill(FillRequest(target.language, prefix, suffix, ('"""',)))
    first, *rest = _comment_lines(text)
    if rest:
        body = "\n".join(f"{indent}{line}" if line else "" for line in rest)
        return _insert(target, line_start, f'{indent}"""{first}\n{body}\n{indent}"""\n')
    return _insert(target, line_start, f'{indent}"""{first}"""\n')


def _has_docstring(symbol: Symbol) -> bool:
    try:
        (node,) = ast.parse(symbol.dedented).body
    except (SyntaxError, ValueError):
        return False
    definitions = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return isinstance(node, definitions) and ast.get_docstring(node) is not None


async def _star_comment(target: Target, symbol: Symbol, fill: Fill) -> DocumentEdit:
    line_start = _start_of_undocumented(target, symbol, "*/")
    indent = symbol.indent
    prefix = f"{target.text[:line_start]}{indent}/**\n{indent} * "
    suffix = f"\n{indent} */\n{target.text[line_start:]}"
    text = await fill(FillRequest(target.language, prefix, suffix, ("*/",)))
    text = "\n".join(line.strip().removeprefix("*").strip() for line in text.split("\n"))
    body = "\n".join(f"{indent} * {line}".rstrip() for line in _comment_lines(text))
    return _insert(target, line_start, f"{indent}/**\n{body}\n{indent} */\n")


async def _line_comment(target: Target, symbol: Symbol, mark: str, fill: Fill) -> DocumentEdit:
    line_start = _start_of_undocumented(target, symbol, mark)
    indent = symbol.indent
    # Go's tools expect that a comment begins with the name.
    begin = f"{symbol.name} " if mark == "//" else ""
    prefix = f"{target.text[:line_start]}{indent}{mark} {begin}"
    suffix = f"\n{target.text[line_start:]}"
    text = await fill(FillRequest(target.language, prefix, suffix, ("\n\n",)))
    first, *rest = text.split("\n")
    lines = [first]
    for line in rest:
        if not line.strip().startswith(mark):
            break
        lines.append(line.strip().removeprefix(mark).strip())
    lines = _comment_lines(begin + "\n".join(lines))
    comment = "".join(f"{indent}{mark} {line}".rstrip() + "\n" for line in lines)
    return _insert(target, line_start, comment)


def _start_of_undocumented(target: Target, symbol: Symbol, mark: str) -> int:
    """Return where the symbol's first line begins; raises RequestError if a comment is above it."""
    line_start = target.text.rfind("\n", 0, symbol.start) + 1
    line_above = target.text[:line_start].rstrip("\r\n").rsplit("\n", 1)[-1].strip()
    if line_above.endswith("*/") if mark == "*/" else line_above.startswith(mark):
        raise RequestError(f"{symbol.name} has a comment already.")
    return line_start


def _comment_lines(text: str) -> list[str]:
    """Return the lines of a generated comment, dedented and without empty lines at its ends.

    Raises RequestError if the first line has no letters.
    """
    first, *rest = text.strip().split("\n")
    lines = [first, *textwrap.dedent("\n".join(rest)).split("\n")] if rest else [first]
    lines = [line.rstrip() for line in lines]
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines or not any(character.isalpha() for character in lines[0]):
        raise RequestError("The model wrote no documentation. Try again with a larger model.")
    return lines


def _insert(target: Target, position: int, text: str) -> DocumentEdit:
    text = text.replace("\n", "\r\n") if "\r\n" in target.text else text
    return target.edit(position, position, text)
