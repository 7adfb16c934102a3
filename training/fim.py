"""Fill-in-the-middle training data: a document becomes prefix, suffix and middle.

The transform is Bavarian et al. 2022 (arXiv:2207.14255) on characters. Besides their uniform holes
there are holes of the shapes that editors ask for. The two orders are:

- PSM: `<fim_prefix>` prefix `<fim_suffix>` suffix `<fim_middle>` middle
- SPM, the paper's variant 2, which StarCoder uses:
  `<fim_prefix> <fim_suffix>` suffix `<fim_middle>` prefix middle
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import tokenizers

from training.formats import SpecialToken
from training.tokenizer import special_id

PREFIX, MIDDLE = SpecialToken("<fim_prefix>"), SpecialToken("<fim_middle>")
SUFFIX, END = SpecialToken("<fim_suffix>"), SpecialToken("<|endoftext|>")

Span = tuple[int, int]
"""Start and end of a hole, in characters."""


@dataclass(frozen=True, slots=True)
class FimIds:
    """Ids of the special tokens that delimit prefix, middle and suffix."""

    prefix: int
    middle: int
    suffix: int
    end: int
    """Id of `<|endoftext|>`."""

    @classmethod
    def from_tokenizer(cls, tokenizer: tokenizers.Tokenizer) -> FimIds:
        """Look up the ids by name. Raises ValueError if the tokenizer lacks one of the tokens."""
        names = ("<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<|endoftext|>")
        return cls(*(special_id(tokenizer, name) for name in names))


def _line_starts(text: str) -> list[int]:
    """Return the offsets of all lines that are not blank."""
    starts, offset = [], 0
    for line in text.splitlines(keepends=True):
        if line.strip():
            starts.append(offset)
        offset += len(line)
    return starts


def _line_end(text: str, offset: int) -> int:
    end = text.find("\n", offset)
    return len(text) if end < 0 else end


def _skip_indentation(text: str, start: int) -> int:
    """Return the offset of the first character of a line that is neither space nor tab."""
    while start < len(text) and text[start] in " \t":
        start += 1
    return start


def rest_of_line(text: str, rng: random.Random) -> Span:
    """Return the span from a column to the end of its line, as when a person stops typing."""
    start = rng.choice(_line_starts(text) or [0])
    end = _line_end(text, start)
    return rng.randint(min(_skip_indentation(text, start), end), end), end


def whole_lines(text: str, rng: random.Random) -> Span:
    """Return the span of one to four lines, with or without the indentation of the first."""
    starts = _line_starts(text) or [0]
    first = rng.randrange(len(starts))
    last = starts[min(first + rng.choice((0, 0, 0, 1, 1, 2, 3)), len(starts) - 1)]
    end = _line_end(text, last)
    start = _skip_indentation(text, starts[first]) if rng.random() < 0.7 else starts[first]
    return min(start, end), end


def indented_block(text: str, rng: random.Random) -> Span:
    """Return the span of the lines that are indented below a line, as after `def f():`."""
    starts = _line_starts(text)
    indents = [_skip_indentation(text, start) - start for start in starts]
    openers = [i for i in range(len(starts) - 1) if indents[i + 1] > indents[i]]
    if not openers:
        return whole_lines(text, rng)
    opener = rng.choice(openers)
    last = opener + 1
    while last + 1 < len(starts) and indents[last + 1] > indents[opener]:
        last += 1
    return _skip_indentation(text, starts[opener + 1]), _line_end(text, starts[last])


def short_span(text: str, rng: random.Random) -> Span:
    """Return a span of up to 120 characters that starts anywhere."""
    start = rng.randint(0, len(text))
    return start, min(len(text), start + rng.randint(1, 120))


def uniform(text: str, rng: random.Random) -> Span:
    """Return a span between two uniformly drawn boundaries: the hole of the paper."""
    a, b = rng.randint(0, len(text)), rng.randint(0, len(text))
    return min(a, b), max(a, b)


HoleFunction = Callable[[str, random.Random], Span]
"""A function that draws a hole of one kind in a text."""

OTHER_HOLES: tuple[tuple[HoleFunction, float], ...] = (
    (whole_lines, 0.20),
    (indented_block, 0.15),
    (short_span, 0.10),
    (uniform, 0.10),
)
"""Kinds of holes other than `rest_of_line`, with their relative frequencies."""


@dataclass(frozen=True, slots=True)
class FimOptions:
    """Options of the transform: shares of holes, orders and kinds of holes."""

    rate: float = 0.5
    """Share of pieces that get a hole."""
    spm_rate: float = 0.5
    """Share of pieces with a hole that are in SPM order; the others are in PSM order."""
    rest_of_line_rate: float = 0.45
    """Share of holes that are the rest of a line."""
    line_rate: float = 0.0
    """Share of PSM pieces that are anchored at the line.

    In these the part of the hole's line before the hole comes after `<fim_middle>`, as if the model
    had generated it.
    """
    empty_suffix_rate: float = 0.2
    """Share of holes with an empty suffix, as at the end of a file that is being written."""


def hole_functions(
    options: FimOptions,
) -> tuple[tuple[HoleFunction, ...], tuple[float, ...]]:
    """Return the kinds of holes and their shares, which add up to 1."""
    others = sum(weight for _, weight in OTHER_HOLES)
    scale = (1 - options.rest_of_line_rate) / others
    kinds = (rest_of_line, *(kind for kind, _ in OTHER_HOLES))
    return kinds, (options.rest_of_line_rate, *(weight * scale for _, weight in OTHER_HOLES))


def transformed_segments(
    text: str, options: FimOptions, rng: random.Random
) -> list[SpecialToken | str]:
    """Return the training segments of a piece of text, with or without a hole, with their end.

    Prefix, middle and suffix are separate segments, which are encoded separately, as at inference:
    no token crosses the border of a hole.
    """
    if rng.random() >= options.rate:
        return [text, END]
    kinds, shares = hole_functions(options)
    start, end = rng.choices(kinds, shares)[0](text, rng)
    suffix = "" if rng.random() < options.empty_suffix_rate else text[end:]
    prefix, middle = text[:start], text[start:end]
    is_spm = rng.random() < options.spm_rate
    if not is_spm and options.line_rate and rng.random() < options.line_rate:
        line_start = text.rfind("\n", 0, start) + 1
        before_line, typed = text[:line_start], text[line_start:start]
        return [PREFIX, before_line, SUFFIX, suffix, MIDDLE, typed, middle, END]
    if is_spm:
        return [PREFIX, SUFFIX, suffix, MIDDLE, prefix, middle, END]
    return [PREFIX, prefix, SUFFIX, suffix, MIDDLE, middle, END]
