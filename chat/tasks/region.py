"""The part of a file that a task rewrites: taken out without its indentation, and put back.

Not every line has the indentation of the code around it. The lines of a string are part of its
value. Preprocessor lines, labels, comments and the text of docstrings may begin at the margin. So
only lines that have the indentation lose it, and those that had none get none.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from chat.tasks.target import Target
from syntax.grammars import grammar_name
from syntax.literals import literal_lines
from syntax.offsets import with_line_feeds
from syntax.symbols import enclosing_symbol

_COMMENT = re.compile(r"[ \t;,]*(?:#|//|--|/\*)")
_DIRECTIVE = re.compile(r"#\s*[a-z]")
_LANGUAGES_WITH_DIRECTIVES = {"c", "cpp"}
_TAB_WIDTH = 4
"""Spaces per level in code that is indented with tabs."""


@dataclass(frozen=True, slots=True)
class Region:
    """Whole lines of a file, or a part of a line that also contains other code."""

    start: int
    """Offset of the region, in code points."""
    end: int
    """Offset of its end, without a line end."""
    text: str
    """The region, dedented, with line feeds, and without the last line end."""
    indent: str
    """The indentation that was removed."""
    name: str
    """Name of the function or class that the region is, empty for other lines."""
    parents: tuple[str, ...] = ()
    """Names of the classes and functions around the function or class."""
    starts_line: bool = True
    """Whether only white space is before the region on its first line."""
    margin_lines: frozenset[str] = frozenset()
    """Lines that did not have the indentation; they keep their own."""


def region_of(target: Target) -> Region:
    """Return the selected lines; without a selection, the function or class, else the line."""
    text = with_line_feeds(target.text)
    symbol = enclosing_symbol(text, target.language, target.start, target.end)
    start, end = _without_space(text, target.start, target.end)
    name, parents = "", tuple[str, ...]()
    if start == end and symbol is not None:
        start, end, name, parents = symbol.start, symbol.end, symbol.name, symbol.parents
        start, end = _with_line_ends(text, start, end)
    else:
        line_start, line_end = _lines_around(text, start, end)
        if symbol is not None and start != end:  # other symbols on the line stay out
            line_start, line_end = max(line_start, symbol.start), min(line_end, symbol.end)
        start, end = _with_line_ends(text, min(start, line_start), max(end, line_end))
    line_start = text.rfind("\n", 0, start) + 1
    starts_line = not text[line_start:start].strip()
    lines = text[start:end].replace("\r\n", "\n").split("\n")
    literals = literal_lines(text, target.language, start, end)
    line = text[line_start : start + len(lines[0])] if starts_line else text[line_start:end]
    indent = _indent_of(line) if name or not starts_line else _common_indent(lines, literals)
    dedented: list[str] = []
    margin_lines: set[str] = set()
    for number, line in enumerate(lines):
        if number in literals or (number == 0 and not starts_line):
            dedented.append(line)
        elif line.startswith(indent):
            dedented.append(line[len(indent) :])
        else:
            dedented.append(line)
            margin_lines.add(line)
    margin_lines.discard("")
    return Region(
        start,
        end,
        "\n".join(dedented),
        indent,
        name,
        parents,
        starts_line,
        frozenset(margin_lines),
    )


def placed(code: str, region: Region, target: Target) -> str:
    """Return code with the indentation of the region and the line ends of the file."""
    code = with_line_feeds(code).replace("\r\n", "\n").strip("\n")
    literals = _literal_lines_of(code, region, target)
    lines = _in_style_of(region, code.split("\n"), literals)
    expected, own = _indent_of(region.text), _indent_of(lines[0])
    has_outer = region.indent != "" and own == region.indent + expected
    removed = "" if own == expected else region.indent if has_outer else own
    added = region.indent + (expected if removed and not has_outer else "")
    is_c = grammar_name(target.language) in _LANGUAGES_WITH_DIRECTIVES
    result: list[str] = []
    for number, line in enumerate(lines):
        if number in literals or line in region.margin_lines:
            result.append(line)
        elif not line.strip():
            result.append("")
        elif is_c and _DIRECTIVE.match(line):
            result.append(line)
        elif number == 0 and not region.starts_line:
            result.append(line.lstrip())
        else:
            result.append(added + line.removeprefix(removed))
    return with_line_ends_of(target.text, "\n".join(result))


def with_line_ends_of(text: str, inserted: str) -> str:
    """Return a text with the line ends of the document `text`."""
    if "\r\n" in text:
        return inserted.replace("\n", "\r\n")
    return inserted.replace("\n", "\r") if "\r" in text and "\n" not in text else inserted


def _literal_lines_of(code: str, region: Region, target: Target) -> frozenset[int]:
    """Return the lines of new code that begin inside a string, once it is in the file."""
    text = target.text[: region.start] + code + target.text[region.end :]
    return literal_lines(text, target.language, region.start, region.start + len(code))


def _without_space(text: str, start: int, end: int) -> tuple[int, int]:
    """Return a selection without the white space at its ends; it may be empty then."""
    selected = text[start:end]
    if not selected.strip():
        return start, start
    leading = len(selected) - len(selected.lstrip())
    return start + leading, start + len(selected.rstrip())


def _lines_around(text: str, start: int, end: int) -> tuple[int, int]:
    line_end = text.find("\n", end)
    return text.rfind("\n", 0, start) + 1, len(text) if line_end < 0 else line_end


def _with_line_ends(text: str, start: int, end: int) -> tuple[int, int]:
    """Return the place with the indentation before it, and the comment and space after it."""
    line_start, line_end = _lines_around(text, start, end)
    if not text[line_start:start].strip():
        start = line_start
    rest = text[end:line_end]
    if not rest.strip() or _COMMENT.match(rest):
        end = line_end
    if text[start:end].endswith("\r"):
        end -= 1
    return start, end


def _indent_of(text: str) -> str:
    """Return the white space before the first line that is not empty."""
    first = next((line for line in text.split("\n") if line.strip()), "")
    return first[: len(first) - len(first.lstrip())]


def _common_indent(lines: list[str], literals: frozenset[int]) -> str:
    indents = [
        _indent_of(line)
        for number, line in enumerate(lines)
        if line.strip() and number not in literals
    ]
    shortest = min(indents, key=len, default="")
    while not all(indent.startswith(shortest) for indent in indents):
        shortest = shortest[:-1]
    return shortest


def _in_style_of(region: Region, lines: list[str], literals: frozenset[int]) -> list[str]:
    """Return code that is indented with tabs if the region is, and with spaces if it is."""
    code = [line for number, line in enumerate(lines) if number not in literals]
    widths = [len(line) - len(line.lstrip(" ")) for line in code if line.startswith(" ")]
    region_lines = [region.indent, *region.text.split("\n")]
    region_tabs = any(line.startswith("\t") for line in region_lines)
    region_spaces = any(line.startswith("  ") for line in region_lines)
    has_tabs = any(line.startswith("\t") for line in code)
    change: Callable[[str], str]
    if region_tabs and not region_spaces and widths and not has_tabs:
        unit = min(width for width in widths if width > 1) if max(widths) > 1 else 1

        def change(line: str) -> str:
            width = len(line) - len(line.lstrip(" "))
            return "\t" * (width // unit) + line[width - width % unit :]

    elif region_spaces and not region_tabs and has_tabs and not widths:

        def change(line: str) -> str:
            depth = len(line) - len(line.lstrip("\t"))
            return " " * (_TAB_WIDTH * depth) + line[depth:]

    else:
        return lines
    return [line if number in literals else change(line) for number, line in enumerate(lines)]
