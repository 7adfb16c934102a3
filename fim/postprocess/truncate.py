"""How much to suggest: the rest of the line, or the block that is being written."""

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
    may_open: bool = False
    """Whether the line may turn out to open a block, which is then offered with it."""
    language: str = ""


@dataclass(frozen=True, slots=True)
class TruncatedText:
    """What of an answer is shown, and whether more of it could change that."""

    text: str
    done: bool


def scope_of(snapshot: Snapshot, *, multiline: bool = True) -> Scope:
    """Return what to complete at the cursor.

    A block is offered where one is being begun: on an empty line, or behind what opens a block;
    with a line, if that turns out to open one. With text right of the cursor, or within a comment
    or a string, it is the line alone.
    """
    before, after, language = snapshot.line_before, snapshot.line_after, snapshot.language_id
    indent = _width(before)
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
    feed, `cut` cuts as well.
    """
    return (*_OPENERS, *_OPENING_WORDS.get(scope.language, ())) if scope.may_open else ()


def opens_block(line: str, language: str = "") -> bool:
    """Whether what follows a line is written deeper."""
    end = line.rstrip()
    words = _OPENING_WORDS.get(language, ())
    return end.endswith(_OPENERS) or (bool(end) and end.split()[-1] in words)


class Truncator:
    """Cuts one answer, as it grows."""

    def __init__(self, snapshot: Snapshot, scope: Scope) -> None:
        self.scope = scope
        self._above = lines_above(snapshot)
        self._lines = -1
        self._open: Sequence[Open] | None = None

    def truncate(self, answer: str, *, ended: bool, limited: bool = False) -> TruncatedText:
        """See `cut`; what is open is looked at again with each line that is whole."""
        lines = answer.count("\n")
        if lines and lines != self._lines and self._may_span(answer):
            whole = answer[: answer.rfind("\n")]
            self._open = open_at_line_ends(self._above, whole, self.scope.language)
            self._lines = lines
        return truncate(answer, self.scope, ended=ended, limited=limited, opened=self._open)

    def _may_span(self, answer: str) -> bool:
        """Whether more than the first line may be shown, so that what is open matters."""
        scope = self.scope
        line = answer.partition("\n")[0]
        opens = scope.may_open and opens_block(line, scope.language)
        return scope.extent is Extent.BLOCK or opens


def truncate(
    answer: str,
    scope: Scope,
    *,
    ended: bool,
    limited: bool = False,
    opened: Sequence[Open] | None = None,
) -> TruncatedText:
    """Return the part of an answer to show; it is always a beginning of it.

    `ended` says that nothing follows, `limited` that this is so for want of tokens: then the last
    word, and the last of several lines, is dropped, since it is probably cut off. `opened` is what
    is open at the cursor and at the end of each whole line (`fim.postprocess.open_brackets`);
    where it is not
    known, indentation tells.
    """
    if scope.extent is Extent.LINE:
        line, newline, _ = answer.partition("\n")
        if not (newline and scope.may_open and line.strip() and opens_block(line, scope.language)):
            if limited and not newline:
                line = _whole_words(line)
            return TruncatedText(line, bool(newline) or ended)
        scope = Scope(Extent.BLOCK, scope.indent, opened=True, language=scope.language)
    lines = answer.split("\n")
    partial = not ended or limited
    kept: list[str] = []
    for index, line in enumerate(lines):
        unfinished = partial and index == len(lines) - 1
        if unfinished and not _is_telling(line, scope):
            break
        verdict = _within(index, line, opened)
        if verdict is Verdict.UNKNOWN:
            verdict = _belongs(line, kept, scope)
        if verdict is Verdict.BEYOND:
            return _shown(kept, done=True)
        if unfinished:
            break
        kept.append(line)
        if verdict is Verdict.LAST or sum(bool(one.strip()) for one in kept) >= MAX_BLOCK_LINES:
            return _shown(kept, done=True)
    if partial and ended and not any(line.strip() for line in kept):
        kept = [_whole_words(lines[0]), *lines[1:]] if limited else lines
    return _shown(kept, done=ended)


class Verdict(Enum):
    """What a line is to a block."""

    WITHIN = "within"
    LAST = "last"
    BEYOND = "beyond"
    UNKNOWN = "unknown"


def _within(index: int, line: str, opened: Sequence[Open] | None) -> Verdict:
    """Judge a line by what is open where it begins: a bracket or string goes on, however deep."""
    if opened is None or index >= len(opened) or not index:
        return Verdict.UNKNOWN
    start = opened[index]
    if start.string and opened[0].string:
        # The cursor itself is in the string: its end is the block's.
        ends = index + 1 < len(opened) and not opened[index + 1].string
        return Verdict.LAST if ends else Verdict.WITHIN
    return Verdict.WITHIN if start.string or start.brackets > 0 else Verdict.UNKNOWN


def _is_telling(line: str, scope: Scope) -> bool:
    """Whether the beginning of a line already says where it belongs."""
    return bool(line.strip()) and not _closes(line, scope, begun=True)


def _belongs(line: str, kept: list[str], scope: Scope) -> Verdict:
    """Judge a line by its indentation."""
    if not kept:
        return Verdict.WITHIN
    if not line.strip():
        empty = not any(one.strip() for one in kept)
        return Verdict.WITHIN if empty else Verdict.BEYOND
    deeper = _width(line) > scope.indent if scope.opened else _width(line) >= scope.indent
    if deeper:
        return Verdict.WITHIN
    closes = _width(line) == scope.indent and _closes(line, scope)
    return Verdict.LAST if closes and scope.opened else Verdict.BEYOND


def _closes(line: str, scope: Scope, *, begun: bool = False) -> bool:
    """Whether a line closes a block; one that is `begun` may yet become a word that does."""
    text = line.strip()
    if text.startswith(_CLOSERS):
        return True
    words = _CLOSING_WORDS.get(scope.language, ())
    first = text.split()[0].rstrip(";") if text else ""
    return first in words or (begun and any(word.startswith(first) for word in words))


def _whole_words(line: str) -> str:
    """Return a line that may break off anywhere without its last word."""
    end = len(line)
    while end and (line[end - 1].isalnum() or line[end - 1] == "_"):
        end -= 1
    return line[:end].rstrip()


def _shown(lines: list[str], *, done: bool) -> TruncatedText:
    return TruncatedText("\n".join(lines).rstrip("\n"), done)


def _width(line: str) -> int:
    return len(line) - len(line.lstrip(" \t"))
