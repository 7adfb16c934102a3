"""Holes to measure with: the rest of a line, in projects that no training step saw."""

from __future__ import annotations

import gzip
import io
import json
import random
import tokenize
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from training.collect import Document

_NO_CODE = frozenset(
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


@dataclass(frozen=True, slots=True)
class LineHole:
    """A cursor in a line and what a person would type up to the line's end."""

    prefix: str
    """All text before the cursor."""
    middle: str
    """The rest of the line, without its line end."""
    suffix: str
    """All text from the line's end on."""


def code_lines(text: str) -> list[int]:
    """Return the indices of lines on which code begins: none blank, none a comment.

    Lines within a string over several lines, such as a docstring, begin no token and are left out.
    Text that is no Python gives none.
    """
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    except (tokenize.TokenError, SyntaxError):
        return []
    return sorted({token.start[0] - 1 for token in tokens if token.type not in _NO_CODE})


def cut_line(text: str, line: int, share: float) -> LineHole:
    """Return the hole after `share` of a line, counted from its indentation; share in [0, 1).

    At least one character that is no space stays to be completed.
    """
    lines = text.split("\n")
    start = sum(len(before) + 1 for before in lines[:line])
    whole = lines[line].rstrip()
    indentation = len(whole) - len(whole.lstrip())
    cursor = start + indentation + int(share * (len(whole) - indentation))
    end = start + len(lines[line])
    return LineHole(text[:cursor], text[cursor:end], text[end:])


def sample_lines(
    documents: Iterable[Document], count: int, rng: random.Random
) -> list[tuple[Document, int]]:
    """Draw lines of code: first a project, then one of its files, then a line, each uniformly.

    By project, since one large project would otherwise be the whole measure.
    """
    by_project: dict[str, list[Document]] = {}
    for document in documents:
        by_project.setdefault(document.project, []).append(document)
    lines: dict[str, list[int]] = {}
    drawn: list[tuple[Document, int]] = []
    projects = sorted(by_project)
    while len(drawn) < count:
        document = rng.choice(by_project[rng.choice(projects)])
        key = f"{document.project} {document.path}"
        if key not in lines:
            lines[key] = code_lines(document.text)
        if lines[key]:
            drawn.append((document, rng.choice(lines[key])))
    return drawn


def latest_line(hole: LineHole) -> str:
    """Complete as an editor without a model could: the baseline.

    The latest earlier line of the file that begins with what is typed gives the rest; without one,
    nothing.
    """
    *earlier, typed = hole.prefix.split("\n")
    for line in reversed(earlier):
        if line.strip() and line.strip().startswith(typed.strip()):
            return line.strip()[len(typed.strip()) :]
    return ""


def human_eval_lines(file: Path) -> list[LineHole]:
    """Read HumanEval's single-line infilling tasks (Bavarian et al. 2022, arXiv:2207.14255).

    The hole is a whole line with its indentation and line end.
    """
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        tasks = [json.loads(line) for line in lines]
    return [LineHole(t["prompt"], t["canonical_solution"], t["suffix"]) for t in tasks]


def matches(hole: LineHole, completion: str) -> bool:
    """Whether a completion's first line is the hole's middle, spaces at the ends aside."""
    return completion.split("\n")[0].strip() == hole.middle.strip()


def match_rate(holes: Sequence[LineHole], completions: Sequence[str]) -> float:
    """Return the share of exact matches, 0 to 1."""
    hits = sum(matches(hole, text) for hole, text in zip(holes, completions, strict=True))
    return hits / len(holes)
