"""How much to suggest: the rest of the line, or the block that is being written."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from fim.snapshot import Snapshot

MAX_BLOCK_LINES = 12

_OPENERS = (":", "{", "(", "[", "=>")
_CLOSERS = tuple(")]}")


class Extent(Enum):
    """What a suggestion may span."""

    LINE = "line"
    BLOCK = "block"


@dataclass(frozen=True, slots=True)
class Scope:
    """Where the suggestion ends."""

    extent: Extent
    indent: int = 0
    """Columns of white space before the cursor's line."""
    opened: bool = False
    """Whether the cursor's line opens the block, which then lies deeper than `indent`."""


@dataclass(frozen=True, slots=True)
class Cut:
    """What of an answer is shown, and whether more of it could change that."""

    text: str
    done: bool


def scope_of(snapshot: Snapshot, *, multiline: bool = True) -> Scope:
    """Return what to complete at the cursor.

    A block is offered where one is being begun: on an empty line, or behind what opens a block.
    With text right of the cursor it is the line alone.
    """
    before, after = snapshot.line_before, snapshot.line_after
    indent = _width(before)
    if not multiline or after.strip():
        return Scope(Extent.LINE, indent)
    if not before.strip():
        return Scope(Extent.BLOCK, indent)
    if before.rstrip().endswith(_OPENERS):
        return Scope(Extent.BLOCK, indent, opened=True)
    return Scope(Extent.LINE, indent)


def cut(answer: str, scope: Scope, *, ended: bool, limited: bool = False) -> Cut:
    """Return the part of an answer to show; it is always a beginning of it.

    `ended` says that nothing follows, `limited` that this is so for want of tokens: then the last
    of several lines is dropped, since it is probably cut off.
    """
    if scope.extent is Extent.LINE:
        line, newline, _ = answer.partition("\n")
        return Cut(line, bool(newline) or ended)
    lines = answer.split("\n")
    partial = not ended or limited
    kept: list[str] = []
    for index, line in enumerate(lines):
        unfinished = partial and index == len(lines) - 1
        if unfinished and not _is_telling(line):
            break
        verdict = _belongs(line, kept, scope)
        if verdict is False:
            return _shown(kept, done=True)
        if unfinished:
            break
        kept.append(line)
        if verdict is None or sum(bool(one.strip()) for one in kept) >= MAX_BLOCK_LINES:
            return _shown(kept, done=True)
    if partial and ended and not any(line.strip() for line in kept):
        kept = lines
    return _shown(kept, done=ended)


def _is_telling(line: str) -> bool:
    """Whether the beginning of a line already says where it belongs."""
    return bool(line.strip()) and not line.strip().startswith(_CLOSERS)


def _belongs(line: str, kept: list[str], scope: Scope) -> bool | None:
    """Whether a line is part of the block; None when it is, and is the last."""
    if not kept:
        return True
    if not line.strip():
        return not any(one.strip() for one in kept)
    deeper = _width(line) > scope.indent if scope.opened else _width(line) >= scope.indent
    if deeper:
        return True
    closes = _width(line) == scope.indent and line.strip().startswith(_CLOSERS)
    return None if closes and scope.opened else False


def _shown(lines: list[str], *, done: bool) -> Cut:
    return Cut("\n".join(lines).rstrip("\n"), done)


def _width(line: str) -> int:
    return len(line) - len(line.lstrip(" \t"))
