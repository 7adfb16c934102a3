"""Length of a suggestion: the rest of the line, or the block that the user is writing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from fim.postprocess.open_brackets import Open, in_string_or_comment, open_at_line_ends
from fim.postprocess.syntax_repair import lines_above
from fim.snapshot import Snapshot

MAX_BLOCK_LINES = 12

_OPENERS = (":", "{", "(", "[", "=>")
_OPENING_WORDS = {
    "ruby": ("do", "then", "else", "begin", "ensure", "rescue"),
    "lua": ("do", "then", "else", "repeat"),
    "shellscript": ("do", "then", "else"),
}
_CLOSERS = tuple(")]}")
_CLOSING_WORDS = {"ruby": ("end",), "lua": ("end", "until"), "shellscript": ("done", "fi", "esac")}


class Extent(Enum):
    """Maximum extent of a suggestion."""

    LINE = "line"
    BLOCK = "block"


@dataclass(frozen=True, slots=True)
class Scope:
    """The rules for where a suggestion ends."""

    extent: Extent
    indent: int = 0
    """Width of the indentation of the cursor's line, in characters."""
    opened: bool = False
    """Whether the cursor's line opens the block, which is then indented deeper than `indent`."""
    may_open: bool = False
    """Whether the line may open a block, which then becomes part of the suggestion."""
    language: str = ""


@dataclass(frozen=True, slots=True)
class TruncatedText:
    """The part of the model's output that belongs to the suggestion."""

    text: str
    done: bool
    """Whether `text` is final, so that more output would not change it."""


def scope_of(snapshot: Snapshot, *, multiline: bool = True) -> Scope:
    """Return the scope of a suggestion at the cursor.

    - With text right of the cursor, or in a comment or a string, the scope is the line.
    - On an empty line, and after a line that opens a block, the scope is the block.
    - Otherwise it is the line, with the block that this line may open.
    """
    before, after, language = snapshot.line_before, snapshot.line_after, snapshot.language_id
    indent = _indent_width(before)
    if not multiline or after.strip():
        return Scope(Extent.LINE, indent, language=language)
    if not before.strip():
        return Scope(Extent.BLOCK, indent, language=language)
    if in_string_or_comment(lines_above(snapshot), language):
        return Scope(Extent.LINE, indent, language=language)
    if opens_block(before, language):
        return Scope(Extent.BLOCK, indent, opened=True, language=language)
    return Scope(Extent.LINE, indent, may_open=True, language=language)


def continue_line_after(scope: Scope) -> tuple[str, ...]:
    """Return the line endings after which a suggestion of one line may go on with a block.

    The value is for `GenerationRequest.continue_line_after`: wherever the engine stops at a line
    feed, `truncate` ends the suggestion as well.
    """
    return (*_OPENERS, *_OPENING_WORDS.get(scope.language, ())) if scope.may_open else ()


def opens_block(line: str, language: str = "") -> bool:
    """Return whether the line after `line` is indented deeper."""
    end = line.rstrip()
    words = _OPENING_WORDS.get(language, ())
    return end.endswith(_OPENERS) or (bool(end) and end.split()[-1] in words)


class Truncator:
    """Truncates the output of one request while it grows."""

    def __init__(self, snapshot: Snapshot, scope: Scope) -> None:
        self.scope = scope
        self._above = lines_above(snapshot)
        self._num_lines = -1
        self._opened: Sequence[Open] | None = None

    def truncate(self, output: str, *, ended: bool, limited: bool = False) -> TruncatedText:
        """Call the function `truncate`; the output is parsed again after each complete line."""
        num_lines = output.count("\n")
        if num_lines and num_lines != self._num_lines and self._may_span_lines(output):
            complete_lines = output[: output.rfind("\n")]
            self._opened = open_at_line_ends(self._above, complete_lines, self.scope.language)
            self._num_lines = num_lines
        return truncate(output, self.scope, ended=ended, limited=limited, opened=self._opened)

    def _may_span_lines(self, output: str) -> bool:
        """Return whether the suggestion may have several lines."""
        scope = self.scope
        line = output.partition("\n")[0]
        opens = scope.may_open and opens_block(line, scope.language)
        return scope.extent is Extent.BLOCK or opens


def truncate(
    output: str,
    scope: Scope,
    *,
    ended: bool,
    limited: bool = False,
    opened: Sequence[Open] | None = None,
) -> TruncatedText:
    """Return the beginning of the model's output that belongs to the suggestion.

    - `ended`: the output is complete.
    - `limited`: the output is complete because it reached the maximum number of tokens. The last
      word, and the last of several lines, is then dropped because it is probably incomplete.
    - `opened`: what is open at the cursor and at the end of each complete line
      (`fim.postprocess.open_brackets`). Without it, indentation decides where a block ends.
    """
    if scope.extent is Extent.LINE:
        line, newline, _ = output.partition("\n")
        if not (newline and scope.may_open and line.strip() and opens_block(line, scope.language)):
            if limited and not newline:
                line = _complete_words(line)
            return TruncatedText(line, bool(newline) or ended)
        scope = Scope(Extent.BLOCK, scope.indent, opened=True, language=scope.language)
    return _truncate_block(output, scope, opened, ended=ended, limited=limited)


def _truncate_block(
    output: str, scope: Scope, opened: Sequence[Open] | None, *, ended: bool, limited: bool
) -> TruncatedText:
    lines = output.split("\n")
    last_is_incomplete = not ended or limited
    kept: list[str] = []
    for index, line in enumerate(lines):
        is_incomplete = last_is_incomplete and index == len(lines) - 1
        if is_incomplete and not _is_decidable(line, scope):
            break
        position = _position_by_brackets(index, opened)
        if position is Position.UNKNOWN:
            position = _position_by_indentation(line, kept, scope)
        if position is Position.OUTSIDE:
            return _joined(kept, done=True)
        if is_incomplete:
            break
        kept.append(line)
        num_lines = sum(bool(other.strip()) for other in kept)
        if position is Position.LAST or num_lines >= MAX_BLOCK_LINES:
            return _joined(kept, done=True)
    if last_is_incomplete and ended and not any(line.strip() for line in kept):
        kept = [_complete_words(lines[0]), *lines[1:]] if limited else lines
    return _joined(kept, done=ended)


class Position(Enum):
    """Position of a line relative to a block."""

    INSIDE = "inside"
    LAST = "last"
    OUTSIDE = "outside"
    UNKNOWN = "unknown"


def _position_by_brackets(index: int, opened: Sequence[Open] | None) -> Position:
    """Return the position of a line by what is open at its beginning.

    A bracket or string that is still open continues the block, whatever the indentation.
    """
    if opened is None or index >= len(opened) or not index:
        return Position.UNKNOWN
    line_start = opened[index]
    if line_start.string and opened[0].string:
        # The cursor is within the string, so the block ends with the string.
        ends = index + 1 < len(opened) and not opened[index + 1].string
        return Position.LAST if ends else Position.INSIDE
    is_open = line_start.string or line_start.brackets > 0
    return Position.INSIDE if is_open else Position.UNKNOWN


def _is_decidable(line: str, scope: Scope) -> bool:
    """Return whether the position of an incomplete line is certain already."""
    return bool(line.strip()) and not _closes_block(line, scope, is_incomplete=True)


def _position_by_indentation(line: str, kept: list[str], scope: Scope) -> Position:
    if not kept:
        return Position.INSIDE
    if not line.strip():
        is_empty = not any(other.strip() for other in kept)
        return Position.INSIDE if is_empty else Position.OUTSIDE
    width = _indent_width(line)
    if width > scope.indent or (width == scope.indent and not scope.opened):
        return Position.INSIDE
    closes = width == scope.indent and _closes_block(line, scope)
    return Position.LAST if closes and scope.opened else Position.OUTSIDE


def _closes_block(line: str, scope: Scope, *, is_incomplete: bool = False) -> bool:
    """Return whether a line closes a block, or might do so once it is complete."""
    text = line.strip()
    if text.startswith(_CLOSERS):
        return True
    words = _CLOSING_WORDS.get(scope.language, ())
    first = text.split()[0].rstrip(";") if text else ""
    return first in words or (is_incomplete and any(word.startswith(first) for word in words))


def _complete_words(line: str) -> str:
    """Return a line without its last word, which may be incomplete."""
    end = len(line)
    while end and (line[end - 1].isalnum() or line[end - 1] == "_"):
        end -= 1
    return line[:end].rstrip()


def _joined(lines: list[str], *, done: bool) -> TruncatedText:
    return TruncatedText("\n".join(lines).rstrip("\n"), done)


def _indent_width(line: str) -> int:
    return len(line) - len(line.lstrip(" \t"))
