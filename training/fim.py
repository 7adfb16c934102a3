"""Fill-in-the-middle: a document becomes prefix, suffix and middle, in the order models are asked.

The transform is Bavarian et al. 2022 (arXiv:2207.14255) at the level of characters, with holes
shaped as an editor makes them beside the uniform ones. PSM is
`<fim_prefix>` prefix `<fim_suffix>` suffix `<fim_middle>` middle; SPM is their variant 2, which
StarCoder uses: `<fim_prefix> <fim_suffix>` suffix `<fim_middle>` prefix middle.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import tokenizers

from training.tokenizer import encode, special_id

Span = tuple[int, int]
"""Start and end of a hole, in characters."""


@dataclass(frozen=True, slots=True)
class FimIds:
    """The ids that the format is built of."""

    prefix: int
    middle: int
    suffix: int
    end: int

    @classmethod
    def of(cls, tokenizer: tokenizers.Tokenizer) -> FimIds:
        """Look the ids up by name; raises ValueError where a token is missing."""
        names = ("<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<|endoftext|>")
        return cls(*(special_id(tokenizer, name) for name in names))


def _line_starts(text: str) -> list[int]:
    starts, at = [], 0
    for line in text.splitlines(keepends=True):
        if line.strip():
            starts.append(at)
        at += len(line)
    return starts


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end


def _indented(text: str, start: int) -> int:
    """Offset of the first character of a line that is no space."""
    while start < len(text) and text[start] in " \t":
        start += 1
    return start


def rest_of_line(text: str, rng: random.Random) -> Span:
    """From a column of a line to its end: what a person sees who stops typing."""
    start = rng.choice(_line_starts(text) or [0])
    end = _line_end(text, start)
    return rng.randint(min(_indented(text, start), end), end), end


def whole_lines(text: str, rng: random.Random) -> Span:
    """One to four lines, with or without the indentation of the first."""
    starts = _line_starts(text) or [0]
    at = rng.randrange(len(starts))
    last = starts[min(at + rng.choice((0, 0, 0, 1, 1, 2, 3)), len(starts) - 1)]
    end = _line_end(text, last)
    start = _indented(text, starts[at]) if rng.random() < 0.7 else starts[at]
    return min(start, end), end


def block(text: str, rng: random.Random) -> Span:
    """The lines below one that are indented deeper than it, as after `def f():`."""
    starts = _line_starts(text)
    indents = [_indented(text, start) - start for start in starts]
    openers = [i for i in range(len(starts) - 1) if indents[i + 1] > indents[i]]
    if not openers:
        return whole_lines(text, rng)
    opener = rng.choice(openers)
    last = opener + 1
    while last + 1 < len(starts) and indents[last + 1] > indents[opener]:
        last += 1
    return _indented(text, starts[opener + 1]), _line_end(text, starts[last])


def short_span(text: str, rng: random.Random) -> Span:
    """Up to 120 characters from anywhere."""
    start = rng.randint(0, len(text))
    return start, min(len(text), start + rng.randint(1, 120))


def uniform(text: str, rng: random.Random) -> Span:
    """Two boundaries anywhere: the hole of the paper."""
    a, b = rng.randint(0, len(text)), rng.randint(0, len(text))
    return min(a, b), max(a, b)


Hole = Callable[[str, random.Random], Span]

OTHER_HOLES: tuple[tuple[Hole, float], ...] = (
    (whole_lines, 0.20),
    (block, 0.15),
    (short_span, 0.10),
    (uniform, 0.10),
)
"""Kinds of hole beside `rest_of_line`, and how often each is made in relation to the others."""


@dataclass(frozen=True, slots=True)
class FimOptions:
    """How often documents are transformed, and how."""

    rate: float = 0.5
    """Share of pieces that get a hole."""
    spm_rate: float = 0.5
    """Share of those in SPM rather than PSM order."""
    rest_of_line_rate: float = 0.45
    """Share of holes that are the rest of a line."""
    line_rate: float = 0.0
    """Share of PSM pieces anchored at the line: what stands before the hole in its own line comes
    after `<fim_middle>`, as if the model had begun the middle there."""
    empty_suffix_rate: float = 0.2
    """Share of holes after which nothing follows, as at the end of a file being written."""


def holes(options: FimOptions) -> tuple[tuple[Hole, ...], tuple[float, ...]]:
    """Return the kinds of hole and their shares, which add up to 1."""
    others = sum(weight for _, weight in OTHER_HOLES)
    scale = (1 - options.rest_of_line_rate) / others
    kinds = (rest_of_line, *(kind for kind, _ in OTHER_HOLES))
    return kinds, (options.rest_of_line_rate, *(weight * scale for _, weight in OTHER_HOLES))


def transform(
    text: str, tokenizer: tokenizers.Tokenizer, ids: FimIds, options: FimOptions, rng: random.Random
) -> list[int]:
    """Return a piece of text as training ids, perhaps with a hole, ended by `<|endoftext|>`.

    Segments are encoded apart from each other, as they are at inference: a token never spans the
    border of a hole.
    """
    if rng.random() >= options.rate:
        return [*encode(tokenizer, text), ids.end]
    kinds, shares = holes(options)
    start, end = rng.choices(kinds, shares)[0](text, rng)
    suffix_text = "" if rng.random() < options.empty_suffix_rate else text[end:]
    prefix, middle = encode(tokenizer, text[:start]), encode(tokenizer, text[start:end])
    suffix = encode(tokenizer, suffix_text)
    spm = rng.random() < options.spm_rate
    if not spm and options.line_rate and rng.random() < options.line_rate:
        line = text.rfind("\n", 0, start) + 1
        before, typed = encode(tokenizer, text[:line]), encode(tokenizer, text[line:start])
        return [ids.prefix, *before, ids.suffix, *suffix, ids.middle, *typed, *middle, ids.end]
    if spm:
        return [ids.prefix, ids.suffix, *suffix, ids.middle, *prefix, *middle, ids.end]
    return [ids.prefix, *prefix, ids.suffix, *suffix, ids.middle, *middle, ids.end]
