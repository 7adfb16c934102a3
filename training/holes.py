"""Holes to measure a model with: the rest of a line in held-out projects."""

from __future__ import annotations

import gzip
import io
import json
import random
import tokenize
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from training.collect import CorpusDocument

_NON_CODE_TOKENS = frozenset(
    {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENCODING,
        tokenize.ENDMARKER,
    }
)

_COMMENT_MARKS = ("//", "#", "/*", "*")


@dataclass(frozen=True, slots=True)
class LineHole:
    """A cursor position in a line, and the text that a person would type there."""

    prefix: str
    """All text before the cursor."""
    middle: str
    """The rest of the line, without its line end."""
    suffix: str
    """All text from the line end on."""
    project: str = ""
    """Name of the project of the file, empty if unknown."""
    path: str = ""
    """Path of the file within the project, empty if unknown."""


def code_lines(text: str) -> list[int]:
    """Return the indices of the lines of a Python file on which a code token starts.

    Blank lines, comments and the inner lines of multi-line strings (such as docstrings) are left
    out. If the text is not Python, the list is empty.
    """
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    except (tokenize.TokenError, SyntaxError):
        return []
    return sorted({token.start[0] - 1 for token in tokens if token.type not in _NON_CODE_TOKENS})


def cut_line(text: str, line: int, share: float) -> LineHole:
    """Return the hole after `share` (0 to below 1) of a line, counted from its indentation.

    At least one character that is not a space is left to complete.
    """
    lines = text.split("\n")
    start = sum(len(earlier) + 1 for earlier in lines[:line])
    stripped = lines[line].rstrip()
    indentation = len(stripped) - len(stripped.lstrip())
    cursor = start + indentation + int(share * (len(stripped) - indentation))
    end = start + len(lines[line])
    return LineHole(text[:cursor], text[cursor:end], text[end:])


def sample_lines(
    documents: Iterable[CorpusDocument], count: int, rng: random.Random
) -> list[tuple[CorpusDocument, int]]:
    """Draw lines of code: first a project, then one of its files, then a line, each uniformly.

    Projects are drawn first because one large project would otherwise dominate the result.
    """
    by_project: dict[str, list[CorpusDocument]] = {}
    for document in documents:
        by_project.setdefault(document.project, []).append(document)
    lines: dict[str, list[int]] = {}
    sample: list[tuple[CorpusDocument, int]] = []
    projects = sorted(by_project)
    while len(sample) < count:
        document = rng.choice(by_project[rng.choice(projects)])
        key = f"{document.project} {document.path}"
        if key not in lines:
            lines[key] = code_lines(document.text)
        if lines[key]:
            sample.append((document, rng.choice(lines[key])))
    return sample


def sample_line_holes(
    documents: Iterable[CorpusDocument], count: int, rng: random.Random
) -> list[LineHole]:
    """Draw up to `count` lines of code, each with the cursor at a random column."""
    lines = [
        (document, line)
        for document in documents
        for line in (
            code_lines(document.text)
            if document.language == "python"
            else _probable_code_lines(document.text)
        )
    ]
    rng.shuffle(lines)
    return [
        replace(
            cut_line(document.text, line, rng.random()),
            project=document.project,
            path=document.path,
        )
        for document, line in lines[:count]
    ]


def _probable_code_lines(text: str) -> list[int]:
    """Return the lines that are neither blank nor comments, in a language that is not parsed."""
    return [
        number
        for number, line in enumerate(text.split("\n"))
        if line.strip() and not line.lstrip().startswith(_COMMENT_MARKS)
    ]


def complete_from_earlier_line(hole: LineHole) -> str:
    """Return the completion of an editor without a model: the baseline.

    It is the rest of the latest earlier line that starts with the typed text. If there is no such
    line, the completion is empty.
    """
    *earlier, typed = hole.prefix.split("\n")
    for line in reversed(earlier):
        if line.strip() and line.strip().startswith(typed.strip()):
            return line.strip()[len(typed.strip()) :]
    return ""


def read_human_eval_holes(file: Path) -> list[LineHole]:
    """Read HumanEval's single-line infilling tasks (Bavarian et al. 2022, arXiv:2207.14255).

    The hole is a whole line with its indentation and line end.
    """
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        tasks = [json.loads(line) for line in lines]
    return [LineHole(t["prompt"], t["canonical_solution"], t["suffix"]) for t in tasks]


def is_match(hole: LineHole, completion: str) -> bool:
    """Whether a completion's first line is the middle, ignoring white space at both ends."""
    return completion.split("\n")[0].strip() == hole.middle.strip()


def match_rate(holes: Sequence[LineHole], completions: Sequence[str]) -> float:
    """Return the share of exact matches, 0 to 1."""
    num_matches = sum(is_match(hole, text) for hole, text in zip(holes, completions, strict=True))
    return num_matches / len(holes)


def baseline_match_rate(holes: Sequence[LineHole]) -> float:
    """Return the share of exact matches of the baseline, 0 to 1."""
    return match_rate(holes, [complete_from_earlier_line(hole) for hole in holes])
