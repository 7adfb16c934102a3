"""The task that documents a function or class, by fill-in-the-middle instead of a chat prompt."""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from chat.tasks.region import with_line_ends_of
from chat.tasks.target import Proposal, Target
from engine.errors import RequestError
from syntax.damage import examine_edit
from syntax.documentation import Documentation, documentation_at
from syntax.grammars import grammar_name
from syntax.offsets import with_line_feeds
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
    # Carriage returns alone are line ends as well; offsets stay the same.
    plain = replace(target, text=with_line_feeds(target.text))
    symbol = await asyncio.to_thread(plain.symbol)
    language = grammar_name(target.language) or ""
    documentation = await asyncio.to_thread(
        documentation_at, plain.text, target.language, target.start, target.end
    )
    if documentation is None:
        raise RequestError("Put the cursor into a function or class.")
    if documentation.form is not None:
        raise RequestError(f"{symbol.name} has a {documentation.form} already.")
    if language == "python":
        position, text = await _docstring(plain, symbol, fill)
    elif language in _STAR_COMMENT_LANGUAGES:
        position, text = await _star_comment(plain, symbol, documentation, fill)
    elif language in _LINE_COMMENT_MARKS:
        mark = _LINE_COMMENT_MARKS[language]
        position, text = await _line_comment(plain, symbol, documentation, mark, fill)
    else:
        raise RequestError(f"Documenting {target.language or 'this language'} is not supported.")
    text = with_line_ends_of(target.text, text)
    edited = await asyncio.to_thread(
        examine_edit, target.text, target.language, position, position, text
    )
    if edited.damage is not None:
        raise RequestError(
            "The file would not parse with the documentation that the model wrote, so it is not "
            "used. Try again with a larger model."
        )
    return Proposal(f"Document {symbol.name}", (target.edit(position, position, text),))


async def _docstring(target: Target, symbol: Symbol, fill: Fill) -> tuple[int, str]:
    """Return where the docstring belongs, and its lines."""
    line_start = target.text.rfind("\n", 0, symbol.body) + 1
    indent = target.text[line_start : symbol.body]
    if symbol.body == symbol.end or indent.strip() or symbol.body == line_start:
        raise RequestError(
            f"The body of {symbol.name} is on the line of its signature. Put it on a line of its "
            "own first."
        )
    prefix = f'{target.text[:line_start]}{indent}"""'
    suffix = f'"""\n{target.text[line_start:]}'
    text = await fill(FillRequest(target.language, prefix, suffix, ('"""',)))
    first, *rest = _comment_lines(text)
    quotes = 'r"""' if "\\" in text else '"""'
    if rest or first.endswith(('"', "\\")):
        body = "".join(f"{indent}{line}\n" if line else "\n" for line in rest)
        return line_start, f'{indent}{quotes}{first}\n{body}{indent}"""\n'
    return line_start, f'{indent}{quotes}{first}"""\n'


async def _star_comment(
    target: Target, symbol: Symbol, documentation: Documentation, fill: Fill
) -> tuple[int, str]:
    position, indent = _place_of_comment(target, symbol, documentation)
    prefix = f"{target.text[:position]}{indent}/**\n{indent} * "
    suffix = f"\n{indent} */\n{target.text[position:]}"
    text = await fill(FillRequest(target.language, prefix, suffix, ("*/",)))
    text = "\n".join(line.strip().removeprefix("*").strip() for line in text.split("\n"))
    body = "\n".join(f"{indent} * {line}".rstrip() for line in _comment_lines(text))
    return position, f"{indent}/**\n{body}\n{indent} */\n"


async def _line_comment(
    target: Target, symbol: Symbol, documentation: Documentation, mark: str, fill: Fill
) -> tuple[int, str]:
    position, indent = _place_of_comment(target, symbol, documentation)
    # Go's tools expect that a comment begins with the name.
    begin = f"{symbol.name} " if mark == "//" else ""
    prefix = f"{target.text[:position]}{indent}{mark} {begin}"
    suffix = f"\n{target.text[position:]}"
    text = await fill(FillRequest(target.language, prefix, suffix, ("\n\n",)))
    first, *rest = text.split("\n")
    lines = [first]
    for line in rest:
        if not line.strip().startswith(mark):
            break
        lines.append(line.strip().removeprefix(mark).strip())
    lines = _comment_lines(begin + "\n".join(lines))
    return position, "".join(f"{indent}{mark} {line}".rstrip() + "\n" for line in lines)


def _place_of_comment(
    target: Target, symbol: Symbol, documentation: Documentation
) -> tuple[int, str]:
    """Return where a comment belongs, and its indentation.

    Raises RequestError if other code is before the symbol on its line.
    """
    if not documentation.starts_line:
        raise RequestError(
            f"{symbol.name} is not the first on its line. Put it on a line of its own first."
        )
    line = target.text[documentation.position : symbol.end].split("\n", 1)[0]
    return documentation.position, line[: len(line) - len(line.lstrip())]


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
