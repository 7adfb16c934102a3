"""Patterns of .gitignore, with the meaning that git gives them.

Sources: gitignore(5), and git's own code where the manual is silent: `parse_path_pattern` in dir.c,
and wildmatch.c. As in git, a pattern and a path are bytes, and `?` matches one byte.

The package pathspec raises an error for some lines that git accepts, finds files included in an
excluded folder, and needs exponential time for a line such as `*a*a*a*a*a*b`, during which Python
runs nothing else. Here the time for one path grows with the product of both lengths at most.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

_IGNORES_CASE = sys.platform in ("win32", "darwin")
"""Whether `.ENV` and `.env` are usually one file: git sets core.ignoreCase on these systems."""
_FLAGS = re.DOTALL | (re.IGNORECASE if _IGNORES_CASE else 0)

_DIGITS = frozenset(b"0123456789")
_LOWER = frozenset(b"abcdefghijklmnopqrstuvwxyz")
_UPPER = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_GRAPH = frozenset(range(0x21, 0x7F))
_CLASSES: dict[bytes, frozenset[int]] = {
    b"alnum": _DIGITS | _LOWER | _UPPER,
    b"alpha": _LOWER | _UPPER,
    b"blank": frozenset(b" \t"),
    b"cntrl": frozenset({*range(0x20), 0x7F}),
    b"digit": _DIGITS,
    b"graph": _GRAPH,
    b"lower": _LOWER,
    b"print": _GRAPH | {0x20},
    b"punct": _GRAPH - _DIGITS - _LOWER - _UPPER,
    b"space": frozenset(b" \t\n\r\v\f"),
    b"upper": _UPPER,
    b"xdigit": _DIGITS | frozenset(b"abcdefABCDEF"),
}

_DOT = frozenset(b".")
_NO_NAMES = ([_DOT], [_DOT, _DOT])
"""Segments that no path has, because git's paths are normalized."""
_WINDOWS_SEPARATOR = re.compile(r"(?<!\\)(?:\\\\)*\\\w")
"""A backslash before a letter, which needs no escape: a path of Windows, as `config\\prod.py`."""

Segment = re.Pattern[bytes] | None
"""What one name of a path must match; None stands for `**`, any number of names."""


class PatternError(ValueError):
    """A pattern that can match no path. git skips it silently."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """One line of a .gitignore."""

    segments: tuple[Segment, ...]
    is_negated: bool
    needs_folder: bool
    is_anchored: bool
    """Whether the pattern contains a slash, so that it matches the whole path."""

    def matches(self, names: Sequence[bytes], *, is_folder: bool) -> bool:
        """Whether a path matches: itself, not a folder above it."""
        if self.needs_folder and not is_folder:
            return False
        return _matches(self.segments, names if self.is_anchored else names[-1:])

    def unanchored(self) -> Pattern:
        """Return the pattern that matches at any depth."""
        if not self.is_anchored or self.segments[0] is None:
            return self
        return Pattern((None, *self.segments), self.is_negated, self.needs_folder, True)


@dataclass(frozen=True, slots=True)
class IgnoreFile:
    """The patterns of one file, or of one list."""

    patterns: tuple[Pattern, ...]
    depth: int = 0
    """Number of names that lead from the root of all paths to the folder of the file."""

    def verdict(self, names: Sequence[bytes], *, is_folder: bool) -> bool | None:
        """Return whether the last matching pattern excludes a path, None if none matches."""
        inner = names[self.depth :]
        for pattern in reversed(self.patterns):
            if inner and pattern.matches(inner, is_folder=is_folder):
                return not pattern.is_negated
        return None


def names_of(path: str) -> list[bytes]:
    """Return the names in a path with slashes."""
    return [_encode(name) for name in path.split("/") if name not in ("", ".")]


def _encode(text: str) -> bytes:
    try:
        return os.fsencode(text)
    except UnicodeEncodeError:  # a surrogate, which no path on disk contains
        return text.encode("utf-8", "replace")


def is_excluded(names: Sequence[bytes], files: Sequence[IgnoreFile]) -> bool:
    """Whether a file, or a folder above it, is excluded; a later file overrides those before it.

    A file in an excluded folder stays excluded, whatever matches the file itself.
    """
    for count in range(1, len(names) + 1):
        for file in reversed(files):
            verdict = file.verdict(names[:count], is_folder=count < len(names))
            if verdict:
                return True
            if verdict is not None:
                break
    return False


def check_pattern(text: str) -> None:
    """Raise PatternError, which says why, if a pattern can match no path or not what it says.

    git accepts a reversed range: it contains its first character.
    """
    if parse_pattern(_encode(text)) is None:
        return
    if _WINDOWS_SEPARATOR.search(text):
        raise PatternError("a backslash does not separate folders: write / instead")
    for first, last in re.findall(r"([a-z0-9])-([a-z0-9])(?=[^\[]*\])", text, re.IGNORECASE):
        if "[" in text and first > last:
            raise PatternError(f"its range {first}-{last} is reversed")


def parse_patterns(texts: Iterable[str]) -> tuple[Pattern, ...]:
    """Return the patterns of a list; those that can match nothing are skipped."""
    return _parse(map(_encode, texts))


def parse_file(content: bytes) -> tuple[Pattern, ...]:
    """Return the patterns of a .gitignore; lines that can match nothing are skipped, as in git."""
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    return _parse(line.removesuffix(b"\r") for line in lines)


def _parse(lines: Iterable[bytes]) -> tuple[Pattern, ...]:
    patterns = []
    for line in lines:
        with suppress(PatternError):
            if (pattern := parse_pattern(line)) is not None:
                patterns.append(pattern)
    return tuple(patterns)


def parse_pattern(line: bytes) -> Pattern | None:
    """Return the pattern of a line, None for an empty line or a comment.

    Raises PatternError if it can match no path.
    """
    line = _without_trailing_spaces(line.partition(b"\0")[0])
    if not line or line.startswith(b"#"):
        return None
    is_negated = line.startswith(b"!")
    text = line.removeprefix(b"!")
    needs_folder = text.endswith(b"/")
    text = text.removesuffix(b"/")
    is_anchored = b"/" in text
    segments = tuple(_segments(text.removeprefix(b"/"), is_path=is_anchored))
    return Pattern(segments, is_negated, needs_folder, is_anchored)


def _without_trailing_spaces(line: bytes) -> bytes:
    """Remove spaces at the end, except one that is escaped; a lone backslash keeps them all."""
    content = re.match(rb"(?:\\.|[^\\ ]| +(?=[^ ]))*", line, re.DOTALL)
    end = content.end() if content is not None else 0
    return line if line[end:].lstrip(b" ") else line[:end]


def _matches(segments: Sequence[Segment], names: Sequence[bytes]) -> bool:
    """Whether names match segments. Only the last `**` must be tried again, as for globs."""
    position, retry = 0, None
    index = 0
    while position < len(names):
        if index < len(segments) and segments[index] is None:
            if index + 1 == len(segments):
                return True
            index += 1
            retry = (index, position)
        elif index < len(segments) and _matches_name(segments[index], names[position]):
            index, position = index + 1, position + 1
        elif retry is not None:
            index, position = retry[0], retry[1] + 1
            retry = (index, position)
        else:
            return False
    # A `**` at the end matches at least one name.
    return index == len(segments)


def _matches_name(segment: Segment, name: bytes) -> bool:
    return segment is not None and segment.fullmatch(name) is not None


def _segments(text: bytes, *, is_path: bool) -> Iterator[Segment]:
    """Yield the segments of a pattern. Raises PatternError if one can match nothing."""
    for tokens in _split(_tokens(text)):
        if not tokens:
            raise PatternError("a name in it is empty")
        if tokens in _NO_NAMES:
            raise PatternError("no path contains the names . and ..: begin it with / instead")
        if tokens == ["**"] and is_path:
            yield None
        else:
            yield re.compile(_regex(tokens), _FLAGS)


Token = str | frozenset[int]
"""`/`, `\\/`, `*`, `**`, or the bytes that match at one place."""
_NO_SLASH = frozenset(range(256)) - frozenset(b"/")


def _tokens(text: bytes) -> Iterator[Token]:
    position = 0
    while position < len(text):
        byte = text[position : position + 1]
        position += 1
        if byte == b"\\":
            if position == len(text):
                raise PatternError("it ends with a backslash")
            yield "\\/" if text[position : position + 1] == b"/" else frozenset({text[position]})
            position += 1
        elif byte == b"*":
            stars = re.match(rb"\**", text[position:])
            length = len(stars[0]) if stars is not None else 0
            position += length
            yield "**" if length else "*"
        elif byte == b"[":
            members, position = _bracket(text, position)
            yield members
        elif byte == b"?":
            yield _NO_SLASH
        else:
            yield "/" if byte == b"/" else frozenset(byte)


def _bracket(text: bytes, position: int) -> tuple[frozenset[int], int]:
    """Return the bytes that match a bracket expression, and the position after it."""
    is_negated = text[position : position + 1] in (b"!", b"^")
    position += is_negated
    members: set[int] = set()
    previous: int | None = None
    is_first = True
    while is_first or text[position : position + 1] != b"]":
        is_first = False
        if (
            text[position : position + 2] == b"[:"
            and (name := _class_at(text, position)) is not None
        ):
            if name not in _CLASSES:
                raise PatternError("it names an unknown class of characters")
            members |= _CLASSES[name]
            position, previous = position + len(name) + 4, None
        elif (
            text[position : position + 1] == b"-"
            and previous is not None
            and (text[position + 1 : position + 2] not in (b"", b"]"))
        ):
            last, position = _character(text, position + 1)
            members |= set(range(previous, last + 1))
            previous = None
        else:
            previous, position = _character(text, position)
            members.add(previous)
    allowed = _NO_SLASH - members if is_negated else members & _NO_SLASH
    if not allowed:
        raise PatternError("its brackets contain no character")
    return frozenset(allowed), position + 1


def _class_at(text: bytes, position: int) -> bytes | None:
    """Return the name in `[:name:]`, None if this is an ordinary bracket."""
    end = text.find(b"]", position + 2)
    if end < 0:
        raise PatternError("a bracket is not closed")
    name = text[position + 2 : end]
    return name[:-1] if name.endswith(b":") else None


def _character(text: bytes, position: int) -> tuple[int, int]:
    """Return a byte in a bracket expression, which may be escaped, and the position after it."""
    if text[position : position + 1] == b"\\":
        position += 1
    if position >= len(text):
        raise PatternError("a bracket is not closed")
    return text[position], position + 1


def _split(tokens: Iterable[Token]) -> Iterator[list[Token]]:
    segment: list[Token] = []
    for token in tokens:
        if token in ("/", "\\/"):
            yield segment
            if token != "/" and segment == ["**"]:
                yield ["*"]  # only before a slash without a backslash, `**` can match no name
            segment = []
        else:
            segment.append(token)
    yield segment


def _regex(tokens: Sequence[Token]) -> bytes:
    """Return a regular expression for one name; it needs no more than quadratic time.

    Between two stars the first match is as good as any later one, so it is an atomic group.
    """
    parts: list[list[bytes]] = [[]]
    for token in tokens:
        if isinstance(token, str):
            parts.append([])
        else:
            parts[-1].append(_character_class(token))
    first, *others = [b"".join(part) for part in parts]
    if not others:
        return first
    inner = b"".join(b"(?>.*?" + part + b")" for part in others[:-1] if part)
    return first + inner + b".*" + others[-1]


def _character_class(members: frozenset[int]) -> bytes:
    if len(members) == 1:
        return re.escape(bytes(members))
    if members == _NO_SLASH:
        return b"."
    return b"[" + b"".join(b"\\x%02x" % member for member in sorted(members)) + b"]"
