"""Half-typed words in real code, and how often a model completes them.

The code is this project's own, which is not in the demo model's training data.
"""

from __future__ import annotations

import asyncio
import io
import random
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.api import Engine
from fim.postprocess.truncate import Extent, Scope, Truncator
from fim.request.model import FimModel, RequestOptions
from fim.settings import FimSettings
from fim.snapshot import Snapshot

_ROOT = Path(__file__).parents[2]
_FOLDERS = ("chat", "engine", "fim", "lsp_server", "syntax", "workspace")
_SHORTEST, _LONGEST = 5, 12
_TYPED = 0.6
"""The share of a word that is typed."""
# A line gets half of the new tokens.
_SETTINGS = FimSettings(max_new_tokens=16, max_prompt_tokens=384)
_AT_A_TIME = 4


@dataclass(frozen=True, slots=True)
class HalfTyped:
    """A word whose beginning is typed at the end of a line, with the code around it."""

    snapshot: Snapshot
    rest: str
    """The characters of the word that are not typed."""

    def is_completed_by(self, text: str) -> bool:
        """Whether an output begins with the rest of this word, and not of a longer one."""
        after = text.removeprefix(self.rest)[:1]
        return text.startswith(self.rest) and not (after.isalnum() or after == "_")


def half_typed_words(count: int, seed: int = 0) -> list[HalfTyped]:
    """Return `count` random half-typed words, each of another line."""
    files = sorted(file for folder in _FOLDERS for file in (_ROOT / folder).rglob("*.py"))
    random_ = random.Random(seed)
    return [random_.choice(words) for file in _shuffled(files, random_) if (words := _words(file))][
        :count
    ]


def _shuffled(files: Sequence[Path], random_: random.Random) -> list[Path]:
    return random_.sample(files, len(files))


def _words(file: Path) -> list[HalfTyped]:
    text = file.read_text(encoding="utf-8")
    return list(_half_typed(text, file.name))


def _half_typed(text: str, name: str) -> Iterator[HalfTyped]:
    """Yield the names and keywords of Python code, where they are half typed."""
    lines = text.splitlines(keepends=True)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        word, (row, column) = token.string, token.start
        is_word = token.type == tokenize.NAME and word.isascii() and word.isalpha()
        if not is_word or not _SHORTEST <= len(word) <= _LONGEST:
            continue
        typed = round(len(word) * _TYPED)
        before = "".join(lines[: row - 1]) + lines[row - 1][: column + typed]
        after = "\n" + "".join(lines[row:])
        snapshot = Snapshot(f"file:///{name}", "python", before + after, len(before))
        yield HalfTyped(snapshot, word[typed:])


async def completed(engine: Engine, words: Sequence[HalfTyped]) -> list[bool]:
    """Return for each word whether the engine completes it. Raises the errors of the engine."""
    model = FimModel(engine, _SETTINGS)
    places = asyncio.Semaphore(_AT_A_TIME)

    async def is_completed(word: HalfTyped) -> bool:
        async with places:
            truncator = Truncator(word.snapshot, Scope(Extent.LINE))
            output = await model.generate(
                word.snapshot, truncator, RequestOptions(), lambda _: None
            )
        return word.is_completed_by(output.text)

    return list(await asyncio.gather(*map(is_completed, words)))
