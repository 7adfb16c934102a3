"""Holes: parts that are cut out of files, at places where a user would request a completion."""

from __future__ import annotations

import gzip
import json
import random
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import tree_sitter

from engine.errors import ConfigurationError, reason_of
from fim.evaluation.files import File, Sample, group_by_folder
from syntax.grammars import parser

_MAX_LINE = 500
_MAX_BODY_LINES = 12
_MAX_SPAN = 120


class HoleKind(StrEnum):
    """Kinds of holes, by the part of the file that is cut out."""

    LINE = "line"
    """A line from some column to its end."""
    SPAN = "span"
    """A span of up to 120 characters anywhere in the code, possibly over several lines."""
    BLOCK = "block"
    """The lines after a line that are indented deeper than it."""
    BODY = "body"
    """The body of a function."""
    DOCSTRING = "docstring"
    """The text between the quotes of a docstring."""
    RETURN = "return"
    """The return type in the signature of a function."""


@dataclass(frozen=True, slots=True)
class Hole:
    """A text from which the middle is cut out."""

    name: str
    """Path and offsets, or the task id of a benchmark; equal for equal holes."""
    language: str
    kind: str
    prefix: str
    middle: str
    suffix: str
    test: str = ""
    """Python code that fails if the hole is filled incorrectly; empty if there is none."""
    sample: str = Sample.RANDOM
    """The kind of lines from which the hole was drawn."""


def draw_holes(
    files: Sequence[File], kinds: Sequence[HoleKind], count: int, seed: int
) -> list[Hole]:
    """Return `count` random holes, or fewer if there are no more.

    The kinds take turns. The folder, the file and the hole are drawn at random.
    """
    rng = random.Random(seed)
    folders = group_by_folder(files)
    holes: dict[str, Hole] = {}
    spans: dict[tuple[str, HoleKind], list[tuple[int, int]]] = {}
    for attempt in range(count * 20):
        if len(holes) == count or not files:
            break
        kind, file = kinds[attempt % len(kinds)], rng.choice(rng.choice(folders))
        key = (file.path, kind)
        if key not in spans:
            spans[key] = [span for span in _FINDERS[kind](file, rng) if file.may_cut(*span)]
        if spans[key]:
            hole = _cut(file, kind, *rng.choice(spans[key]))
            holes[hole.name] = hole
    return sorted(holes.values(), key=lambda hole: hole.name)


def _cut(file: File, kind: HoleKind, start: int, end: int) -> Hole:
    name = f"{file.path}:{start}-{end}:{kind}"
    text = file.text
    parts = (text[:start], text[start:end], text[end:])
    return Hole(name, file.language, kind, *parts, sample=file.sample)


def _code_lines(file: File) -> Iterator[tuple[int, int]]:
    """Yield the start and end of lines that contain code, judging by their first characters."""
    line_start = 0
    for line in file.text.split("\n"):
        stripped = line.strip()
        is_comment = stripped.startswith(("#", "//", "/*", "*", "--", '"""', "'''"))
        if stripped and not is_comment and len(line) <= _MAX_LINE:
            indent = len(line) - len(line.lstrip())
            yield line_start + indent, line_start + len(line.rstrip())
        line_start += len(line) + 1


def _line_rests(file: File, rng: random.Random) -> Iterator[tuple[int, int]]:
    for start, end in _code_lines(file):
        yield rng.randrange(start, end), end


def _spans(file: File, rng: random.Random) -> Iterator[tuple[int, int]]:
    for start, end in _code_lines(file):
        first = rng.randrange(start, end)
        last = min(len(file.text), first + rng.randint(1, _MAX_SPAN))
        if file.text[first:last].strip():
            yield first, last


def _blocks(file: File, _: random.Random) -> Iterator[tuple[int, int]]:
    lines = list(_code_lines(file))
    for index, (start, end) in enumerate(lines):
        column = start - (file.text.rfind("\n", 0, start) + 1)
        inside = []
        for inner_start, inner_end in lines[index + 1 :]:
            if inner_start - (file.text.rfind("\n", 0, inner_start) + 1) <= column:
                break
            inside.append((inner_start, inner_end))
        if inside and len(inside) <= _MAX_BODY_LINES and inside[0][0] > end:
            yield inside[0][0], inside[-1][1]


def _nodes(file: File) -> Iterator[tree_sitter.Node]:
    language_parser = parser(file.language)
    if language_parser is None:
        return
    pending = [language_parser.parse(file.text.encode()).root_node]
    while pending:
        node = pending.pop()
        yield node
        pending += node.children


def _characters(file: File, start: int, end: int) -> tuple[int, int]:
    """Convert byte offsets to offsets in characters."""
    data = file.text.encode()
    before = len(data[:start].decode("utf-8", "replace"))
    return before, before + len(data[start:end].decode("utf-8", "replace"))


def _bodies(file: File, _: random.Random) -> Iterator[tuple[int, int]]:
    for node in _nodes(file):
        body = node.child_by_field_name("body")
        if body is None or not ("function" in node.type or "method" in node.type):
            continue
        start, end = _characters(file, body.start_byte, body.end_byte)
        if file.text[start : start + 1] == "{":
            start, end = start + 1, end - 1
        text = file.text[start:end]
        if text.strip() and text.count("\n") <= _MAX_BODY_LINES:
            yield start, start + len(text.rstrip())


def _docstrings(file: File, _: random.Random) -> Iterator[tuple[int, int]]:
    for node in _nodes(file):
        body = node.child_by_field_name("body")
        first = body.named_children[0] if body is not None and body.named_children else None
        if file.language != "python" or node.type != "function_definition" or first is None:
            continue
        text = first.text or b""
        if first.type == "expression_statement" and text[:3] == b'"""' and len(text) > 12:
            yield _characters(file, first.start_byte + 3, first.end_byte - 3)


def _returns(file: File, _: random.Random) -> Iterator[tuple[int, int]]:
    for node in _nodes(file):
        type_ = node.child_by_field_name("return_type") or node.child_by_field_name("result")
        if type_ is not None:
            yield _characters(file, type_.start_byte, type_.end_byte)


_FINDERS: dict[HoleKind, Callable[[File, random.Random], Iterator[tuple[int, int]]]] = {
    HoleKind.LINE: _line_rests,
    HoleKind.SPAN: _spans,
    HoleKind.BLOCK: _blocks,
    HoleKind.BODY: _bodies,
    HoleKind.DOCSTRING: _docstrings,
    HoleKind.RETURN: _returns,
}


def read_holes(file: Path) -> list[Hole]:
    """Read holes from JSON lines, possibly compressed, with the fields of `Hole`.

    The format of HumanEval-infilling (Bavarian et al. 2022, arXiv:2207.14255) is supported too. Its
    fields are `task_id`, `prompt`, `suffix`, `canonical_solution`, and for tests `test` and
    `entry_point`. Raises ConfigurationError with the number of the first line in another format.
    """
    open_file = gzip.open if file.suffix == ".gz" else open
    holes = []
    try:
        with open_file(file, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                holes.append(_read_hole(line, f"{file}, line {number}"))
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        problem = "it is damaged" if isinstance(error, EOFError | zlib.error) else reason_of(error)
        raise ConfigurationError(f"{file} cannot be read: {problem}.") from None
    return holes


def _read_hole(line: str, location: str) -> Hole:
    try:
        row = json.loads(line)
        if "canonical_solution" in row:
            middle = row["canonical_solution"]
            kind = HoleKind.LINE if middle.strip().count("\n") == 0 else HoleKind.BLOCK
            test = f"{row['test']}\ncheck({row['entry_point']})\n" if "test" in row else ""
            return Hole(row["task_id"], "python", kind, row["prompt"], middle, row["suffix"], test)
        if not all(isinstance(value, str) for value in row.values()):
            raise TypeError
        return Hole(**row)
    except json.JSONDecodeError:
        raise ConfigurationError(f"{location}: it is not valid JSON.") from None
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ConfigurationError(
            f"{location} has neither the fields of a hole nor those of HumanEval-infilling. "
            "docs/evaluation.md lists them."
        ) from None
