"""Keep benchmarks out of the training data.

As StarCoder did (Li et al. 2023, arXiv:2305.06161, 3.5), a file goes if it contains a benchmark's
docstring or solution. Spaces do not count, so that a copy with another indentation goes too.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable
from pathlib import Path

_MIN_CHARACTERS = 60
"""Shorter texts, such as `return a + b`, are in any code."""

_DOCSTRING = re.compile(r'"""(.*?)"""|\'\'\'(.*?)\'\'\'', re.DOTALL)


def benchmark_texts(file: Path) -> list[str]:
    """Return the docstrings and solutions of a benchmark in HumanEval's form, one JSON a line.

    Raises ValueError where a line has none of `prompt`, `canonical_solution` and `text`.
    """
    opened = gzip.open if file.suffix == ".gz" else open
    texts = []
    with opened(file, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            task = json.loads(line)
            texts += [a or b for a, b in _DOCSTRING.findall(task.get("prompt", ""))]
            texts += [task[key] for key in ("canonical_solution", "text") if key in task]
            if not {"prompt", "canonical_solution", "text"}.intersection(task):
                raise ValueError(f"{file}, line {number}: no prompt, canonical_solution or text")
    return texts


class Benchmarks:
    """Texts that no training document may contain."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._by_line: dict[str, set[str]] = {}
        for text in texts:
            squeezed = _squeezed(text)
            if len(squeezed) >= _MIN_CHARACTERS:
                # Only documents that share its longest line are searched for the whole text.
                longest = max(map(_squeezed, text.splitlines()), key=len)
                self._by_line.setdefault(longest, set()).add(squeezed)

    def has(self, text: str) -> bool:
        """Whether a document contains one of the texts."""
        shared = self._by_line.keys() & {_squeezed(line) for line in text.splitlines()}
        if not shared:
            return False
        whole = _squeezed(text)
        return any(known in whole for line in shared for known in self._by_line[line])


def _squeezed(text: str) -> str:
    # Without quotes too: a docstring's first line begins behind them.
    return "".join(text.split()).replace('"', "").replace("'", "")
