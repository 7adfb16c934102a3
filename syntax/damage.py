"""What an edit would break in a file: its syntax, or the structure around the edited place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import tree_sitter

from syntax.grammars import errors_in, grammar_name, parse
from syntax.offsets import ByteOffsets, with_line_feeds
from syntax.python_source import parse_python
from syntax.symbols import SymbolNodes, symbol_nodes
from syntax.window import near


class Damage(Enum):
    """What is wrong with a file after an edit."""

    SYNTAX = "The file has more syntax errors."
    STRUCTURE = "The functions and classes outside of the edited place are not the same."


@dataclass(frozen=True, slots=True)
class EditedFile:
    """What an edit does to a file."""

    damage: Damage | None
    inside: tuple[tuple[str, ...], ...]
    """The names of the symbols in the inserted text, each with those of the symbols around it."""


def examine_edit(text: str, language: str, start: int, end: int, inserted: str) -> EditedFile:
    """Return what happens if `inserted` replaces the text between two offsets.

    In a very long file, only the text near the place is compared. A file that takes too long to be
    parsed counts as damaged.
    """
    window, shift = near(text, start, end)
    first, last = start - shift, end - shift
    edited = window[:first] + inserted + window[last:]
    before, after = with_line_feeds(window), with_line_feeds(edited)
    old_root, new_root = parse(before, language), parse(after, language)
    if old_root is None or new_root is None:
        is_unknown = grammar_name(language) is None
        return EditedFile(None if is_unknown else Damage.SYNTAX, ())
    old = _outline(old_root, before, first, last)
    new = _outline(new_root, after, first, first + len(inserted))
    if errors_in(new_root) > errors_in(old_root) or _breaks_python(before, after, language):
        return EditedFile(Damage.SYNTAX, new.inside)
    same = old.around == new.around and old.above == new.above and old.below == new.below
    return EditedFile(None if same else Damage.STRUCTURE, new.inside)


def _breaks_python(before: str, after: str, language: str) -> bool:
    """Whether Python could parse the code before and cannot after; tree-sitter accepts more."""
    if grammar_name(language) != "python":
        return False
    return parse_python(before) is not None and parse_python(after) is None


@dataclass(frozen=True, slots=True)
class _Outline:
    """The qualified names of the symbols of a file, by their position relative to a place."""

    above: tuple[tuple[str, ...], ...]
    around: tuple[tuple[str, ...], ...]
    inside: tuple[tuple[str, ...], ...]
    below: tuple[tuple[str, ...], ...]


def _outline(root: tree_sitter.Node, text: str, start: int, end: int) -> _Outline:
    offsets = ByteOffsets(text)
    first, last = offsets.to_bytes(start), offsets.to_bytes(end)
    entries = list(symbol_nodes(root, offsets))
    # A symbol that is exactly the place is inside of it.
    inside = [each for each in entries if first <= _start(each) and _end(each) <= last]
    others = [each for each in entries if not (first <= _start(each) and _end(each) <= last)]
    return _Outline(
        _names([each for each in others if _end(each) <= first]),
        _names([each for each in others if _start(each) < last and first < _end(each)]),
        _names(inside),
        _names([each for each in others if last <= _start(each)]),
    )


def _start(entries: SymbolNodes) -> int:
    return entries.head.start_byte


def _end(entries: SymbolNodes) -> int:
    return entries.outer.end_byte


def _names(entries: Sequence[SymbolNodes]) -> tuple[tuple[str, ...], ...]:
    return tuple((*each.parents, each.name) for each in entries)
