"""Keep benchmarks out of the training data.

As in StarCoder (Li et al. 2023, arXiv:2305.06161, 3.5), a file is dropped if it contains a
docstring or a solution of a benchmark. White space is ignored, so copies with other indentation are
dropped too.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable
from pathlib import Path

_MIN_CHARACTERS = 60
"""Minimum characters of a text: shorter ones, such as `return a + b`, occur in any code."""

_DOCSTRING = re.compile(r'"""(.*?)"""|\'\'\'(.*?)\'\'\'', re.DOTALL)


def read_benchmark_texts(file: Path) -> list[str]:
    """Return the docstrings and solutions of a benchmark in HumanEval's format (JSON lines).

    Raises ValueError if a line has none of `prompt`, `canonical_solution` and `text`.
    """
    open_file = gzip.open if file.suffix == ".gz" else open
    texts = []
    with open_file(file, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            task = json.loads(line)
            texts += [a or b for a, b in _DOCSTRING.findall(task.get("prompt", ""))]
            texts += [task[key] for key in ("canonical_solution", "text") if key in task]
            if not {"prompt", "canonical_solution", "text"}.intersection(task):
                raise ValueError(f"{file}, line {number}: no prompt, canonical_solution or text")
    return texts


class BenchmarkTexts:
    """Texts that no training document may contain."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._by_longest_line: dict[str, set[str]] = {}
        for text in texts:
            squeezed = _squeeze(text)
            if len(squeezed) >= _MIN_CHARACTERS:
                # Only documents that share the longest line are searched for the whole text.
                longest = max(map(_squeeze, text.splitlines()), key=len)
                self._by_longest_line.setdefault(longest, set()).add(squeezed)

    def occur_in(self, document: str) -> bool:
        """Whether a document contains one of the texts."""
        shared = self._by_longest_line.keys() & {_squeeze(line) for line in document.splitlines()}
        if not shared:
            return False
        squeezed = _squeeze(document)
        return any(text in squeezed for line in shared for text in self._by_longest_line[line])


def _squeeze(text: str) -> str:
    # Quotes are removed too: the first line of a docstring starts after them.
    return "".join(text.split()).replace('"', "").replace("'", "")
