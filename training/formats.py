"""StarCoder's formats other than plain files: headers, notebooks, commits and issues.

They follow Li et al. 2023 (arXiv:2305.06161), sections 5.1 to 5.4 and the table of formats. A
document is a list of segments: text and special tokens by name. `encode_segments` encodes them, so
that text never becomes a special token.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import tokenizers

from training.tokenizer import encodable, encode, special_id

HEADER_RATE = 0.2
"""Probability of each part of a header: repository, file name and stars."""

END = "<|endoftext|>"


@dataclass(frozen=True, slots=True)
class SpecialToken:
    """A special token, by name."""

    name: str


Segments = Sequence[SpecialToken | str]


def encode_segments(segments: Segments, tokenizer: tokenizers.Tokenizer) -> list[int]:
    """Return the ids of a document. Raises ValueError if the tokenizer lacks a special token."""
    ids: list[int] = []
    for segment in segments:
        if isinstance(segment, SpecialToken):
            ids.append(special_id(tokenizer, segment.name))
        else:
            ids += encode(tokenizer, segment)
    return ids


def encode_documents(
    documents: Sequence[Segments], tokenizer: tokenizers.Tokenizer
) -> list[list[int]]:
    """Return the ids of each document; all texts are encoded in one call, which is faster.

    Raises ValueError if the tokenizer lacks a special token.
    """
    texts = [
        encodable(part) for document in documents for part in document if isinstance(part, str)
    ]
    encodings = iter(tokenizer.encode_batch_fast(texts, add_special_tokens=False))
    specials: dict[str, int] = {}
    encoded: list[list[int]] = []
    for document in documents:
        ids: list[int] = []
        for part in document:
            if isinstance(part, str):
                ids += next(encodings).ids
            else:
                if part.name not in specials:
                    specials[part.name] = special_id(tokenizer, part.name)
                ids.append(specials[part.name])
        encoded.append(ids)
    return encoded


def header_segments(
    rng: random.Random,
    repository: str,
    path: str,
    stars: int | None = None,
    rate: float = HEADER_RATE,
) -> list[SpecialToken | str]:
    """Return `<reponame>NAME<filename>PATH<gh_stars>STARS` and a line end.

    Each part is included with probability `rate`; without any part the list is empty.
    """
    segments: list[SpecialToken | str] = []
    parts = (("<reponame>", repository), ("<filename>", path))
    for name, value in (*parts, ("<gh_stars>", None if stars is None else star_range(stars))):
        if value is not None and rng.random() < rate:
            segments += [SpecialToken(name), value]
    return [*segments, "\n"] if segments else []


def star_range(stars: int) -> str:
    """Return the name that StarCoder gives to the range of a number of stars."""
    for limit, name in ((0, "0"), (10, "1-10"), (100, "10-100"), (1000, "100-1000")):
        if stars <= limit:
            return name
    return "1000+"


CellKind = Literal["text", "code", "output"]


@dataclass(frozen=True, slots=True)
class NotebookCell:
    """A part of a notebook: Markdown, code, or the output of the code before it."""

    kind: CellKind
    text: str


def notebook_segments(cells: Iterable[NotebookCell]) -> list[SpecialToken | str]:
    """Return a notebook: `<jupyter_start>`, then its cells.

    Code without output is followed by `<empty_output>`.
    """
    segments: list[SpecialToken | str] = [SpecialToken("<jupyter_start>")]
    is_after_code = False
    for cell in cells:
        if is_after_code and cell.kind != "output":
            segments.append(SpecialToken("<empty_output>"))
        segments += [SpecialToken(f"<jupyter_{cell.kind}>"), cell.text]
        is_after_code = cell.kind == "code"
    if is_after_code:
        segments.append(SpecialToken("<empty_output>"))
    return [*segments, SpecialToken(END)]


def parse_notebook(ipynb: str) -> list[NotebookCell]:
    """Return the cells of a notebook file. Raises ValueError if the text is not a notebook."""
    try:
        rows = json.loads(ipynb)["cells"]
    except (TypeError, KeyError) as error:
        raise ValueError("not a notebook: it has no cells") from error
    cells: list[NotebookCell] = []
    for row in rows:
        if text := "".join(row.get("source", "")).strip():
            cells.append(NotebookCell("code" if row["cell_type"] == "code" else "text", text))
            if output := _output_text(row).strip():
                cells.append(NotebookCell("output", output))
    return cells


def _output_text(cell: Mapping[str, Any]) -> str:
    texts = []
    for output in cell.get("outputs", ()):
        text = output.get("text") or output.get("data", {}).get("text/plain", "")
        texts.append("".join(text))
    return "".join(texts)


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit's change of one file."""

    message: str
    before: str
    """Content of the file before the commit."""
    after: str
    """Content of the file after the commit."""


WHOLE_FILE_RATE = 0.2
"""Share of commits that show the whole file."""
MAX_CONTEXT_LINES = 32
"""Maximum unchanged lines above and below the change in the other commits."""


def commit_segments(commit: Commit, rng: random.Random) -> list[SpecialToken | str]:
    """Return `<commit_before>` old `<commit_msg>` message `<commit_after>` new.

    Four of five commits show up to 32 lines around the change rather than the whole file.
    """
    before, after = commit.before, commit.after
    if rng.random() >= WHOLE_FILE_RATE:
        before, after = crop_to_change(before, after, rng.randint(0, MAX_CONTEXT_LINES))
    return [
        SpecialToken("<commit_before>"),
        before,
        SpecialToken("<commit_msg>"),
        commit.message.strip(),
        SpecialToken("<commit_after>"),
        after,
        SpecialToken(END),
    ]


def crop_to_change(before: str, after: str, context: int) -> tuple[str, str]:
    """Return the lines that differ in both texts, with `context` lines above and below."""
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    num_shared = min(len(old), len(new))
    head = 0
    while head < num_shared and old[head] == new[head]:
        head += 1
    tail = 0
    while tail < num_shared - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    start, below = max(0, head - context), max(0, tail - context)
    return "".join(old[start : len(old) - below]), "".join(new[start : len(new) - below])


@dataclass(frozen=True, slots=True)
class IssueComment:
    """A comment in an issue."""

    author: str
    text: str


def issue_segments(
    title: str, comments: Sequence[IssueComment], is_closed: bool
) -> list[SpecialToken | str]:
    """Return an issue with numbered authors: `username_0` opened it."""
    names: dict[str, str] = {}
    segments: list[SpecialToken | str] = [SpecialToken("<issue_start>"), f"Title: {title}"]
    for number, comment in enumerate(comments):
        name = names.setdefault(comment.author, f"username_{len(names)}")
        if number == 0:
            segments.append(f"\n{name}: {comment.text}")
        else:
            segments += [SpecialToken("<issue_comment>"), f"{name}: {comment.text}"]
    if is_closed:
        segments.append(SpecialToken("<issue_closed>"))
    return [*segments, SpecialToken(END)]
