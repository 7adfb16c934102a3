"""StarCoder's formats beside plain files: headers, notebooks, commits, issues.

After Li et al. 2023 (arXiv:2305.06161), 5.1 to 5.4 and table of formats. A document is a list of
segments, special tokens by name and text, which `ids_of` joins: text never becomes a token.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import tokenizers

from training.tokenizer import encode, special_id

HEADER_RATE = 0.2
"""Share of files that show their repository, their name, their stars: each drawn apart."""

END = "<|endoftext|>"


@dataclass(frozen=True, slots=True)
class Token:
    """A special token, by name."""

    name: str


Segments = Sequence[Token | str]


def ids_of(segments: Segments, tokenizer: tokenizers.Tokenizer) -> list[int]:
    """Return the ids of a document; raises ValueError for a token that the tokenizer lacks."""
    ids: list[int] = []
    for segment in segments:
        if isinstance(segment, Token):
            ids.append(special_id(tokenizer, segment.name))
        else:
            ids += encode(tokenizer, segment)
    return ids


def header(
    rng: random.Random,
    repository: str,
    path: str,
    stars: int | None = None,
    rate: float = HEADER_RATE,
) -> list[Token | str]:
    """Return `<reponame>NAME<filename>PATH<gh_stars>STARS` and a line end, each part at times."""
    made: list[Token | str] = []
    parts = (("<reponame>", repository), ("<filename>", path))
    for name, value in (*parts, ("<gh_stars>", None if stars is None else star_range(stars))):
        if value is not None and rng.random() < rate:
            made += [Token(name), value]
    return [*made, "\n"] if made else []


def star_range(stars: int) -> str:
    """Return the range in which a number of stars lies, as StarCoder names it."""
    for limit, name in ((0, "0"), (10, "1-10"), (100, "10-100"), (1000, "100-1000")):
        if stars <= limit:
            return name
    return "1000+"


CellKind = Literal["text", "code", "output"]


@dataclass(frozen=True, slots=True)
class Cell:
    """A part of a notebook: markdown, code, or what the code before it printed."""

    kind: CellKind
    text: str


def notebook(cells: Iterable[Cell]) -> list[Token | str]:
    """Return a notebook: `<jupyter_start>`, its cells by kind, `<empty_output>` for none."""
    made: list[Token | str] = [Token("<jupyter_start>")]
    code_waits = False
    for cell in cells:
        if code_waits and cell.kind != "output":
            made.append(Token("<empty_output>"))
        made += [Token(f"<jupyter_{cell.kind}>"), cell.text]
        code_waits = cell.kind == "code"
    if code_waits:
        made.append(Token("<empty_output>"))
    return [*made, Token(END)]


def cells_of(ipynb: str) -> list[Cell]:
    """Return the cells of a notebook file; raises ValueError where it is none."""
    try:
        found = json.loads(ipynb)["cells"]
    except (TypeError, KeyError) as error:
        raise ValueError("no notebook: it has no cells") from error
    cells: list[Cell] = []
    for cell in found:
        if text := "".join(cell.get("source", "")).strip():
            cells.append(Cell("code" if cell["cell_type"] == "code" else "text", text))
            if output := _output(cell).strip():
                cells.append(Cell("output", output))
    return cells


def _output(cell: dict[str, Any]) -> str:
    made = []
    for output in cell.get("outputs", ()):
        text = output.get("text") or output.get("data", {}).get("text/plain", "")
        made.append("".join(text))
    return "".join(made)


@dataclass(frozen=True, slots=True)
class Commit:
    """What one commit did to one file."""

    message: str
    before: str
    after: str


WHOLE_FILE_RATE = 0.2
MAX_CONTEXT_LINES = 32


def commit(change: Commit, rng: random.Random) -> list[Token | str]:
    """Return `<commit_before>` old `<commit_msg>` message `<commit_after>` new.

    Four of five show up to 32 lines around what changed rather than the whole file.
    """
    before, after = change.before, change.after
    if rng.random() >= WHOLE_FILE_RATE:
        before, after = around_change(before, after, rng.randint(0, MAX_CONTEXT_LINES))
    return [
        Token("<commit_before>"),
        before,
        Token("<commit_msg>"),
        change.message.strip(),
        Token("<commit_after>"),
        after,
        Token(END),
    ]


def around_change(before: str, after: str, context: int) -> tuple[str, str]:
    """Return both texts from `context` lines above what differs to as many below."""
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    same = 0
    while same < min(len(old), len(new)) and old[same] == new[same]:
        same += 1
    tail = 0
    while tail < min(len(old), len(new)) - same and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    start, below = max(0, same - context), max(0, tail - context)
    return "".join(old[start : len(old) - below]), "".join(new[start : len(new) - below])


@dataclass(frozen=True, slots=True)
class Comment:
    """What somebody wrote in an issue."""

    author: str
    text: str


def issue(title: str, comments: Sequence[Comment], closed: bool) -> list[Token | str]:
    """Return an issue with its authors numbered: `username_0` opened it."""
    names: dict[str, str] = {}
    made: list[Token | str] = [Token("<issue_start>"), f"Title: {title}"]
    for number, comment in enumerate(comments):
        name = names.setdefault(comment.author, f"username_{len(names)}")
        if number == 0:
            made.append(f"\n{name}: {comment.text}")
        else:
            made += [Token("<issue_comment>"), f"{name}: {comment.text}"]
    return [*made, *([Token("<issue_closed>")] if closed else []), Token(END)]
