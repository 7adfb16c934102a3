"""How much of the prompt is another at each key: what a KV cache cannot hold.

Passages of real files are typed key by key, and each prompt is held beside the ones before it. No
model is asked and nothing is timed: the counts are the same on every machine.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.common import JsonOption
from engine.loading.catalog import EMBEDDED_DIR
from engine.tokenizer import Tokenizer
from fim.evaluation.counts import Passage
from fim.evaluation.files import source_files
from fim.evaluation.replay import passages
from fim.prompt.build import build
from fim.prompt.families import detect
from fim.prompt.token_healing import partial_token
from fim.prompt.window import cached_encoder
from fim.request.model import without_last_characters
from fim.settings import FORMS, Form
from fim.snapshot import Snapshot

_REMEMBERED = 8
"""Prompts before, any of which may be the one whose cache fits best."""
_LONG = 16
"""Ids: more are a prefill that one notices."""


@dataclass
class Count:
    """What typing came to with one form and one length of prompt."""

    form: Form
    limit: int
    keys: int = 0
    ids: int = 0
    """Of all prompts."""
    anew: int = 0
    """Of those, how many no prompt before began with."""
    long: int = 0
    """Keys that had many of them."""

    def type(self, passage: Passage, tokenizer: Tokenizer) -> None:
        """Add a passage; what its first prompt takes is not counted."""
        family, encode = detect(tokenizer), cached_encoder(tokenizer.encode)
        before: deque[tuple[int, ...]] = deque(maxlen=_REMEMBERED)
        text, after = passage.file.text, passage.file.text[passage.end :]
        for cursor in range(passage.start, passage.end + 1):
            here = Snapshot("", passage.file.language, text[:cursor] + after, cursor)
            asked = without_last_characters(here, len(partial_token(here.line_before)))
            ids = build(asked, family, encode, self.limit, self.form).ids
            if before:
                anew = len(ids) - max(_shared(ids, one) for one in before)
                self.keys += 1
                self.ids += len(ids)
                self.anew += anew
                self.long += anew > _LONG
            before.append(ids)


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    for at, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return at
    return min(len(one), len(other))


def main(
    folders: Annotated[list[Path], typer.Argument(help="Source files to type passages of.")],
    files: Annotated[int, typer.Option(min=1, help="Passages.")] = 12,
    lines: Annotated[int, typer.Option(min=1, help="Of each.")] = 8,
    json_file: JsonOption = None,
) -> None:
    """Print how many ids a key has to compute, by the prompt's form and length."""
    tokenizer = Tokenizer.from_file(EMBEDDED_DIR)
    chosen = passages(source_files(*folders), files, lines, 1)
    found = [Count(form, limit) for form in FORMS for limit in (768, 2048)]
    table = Table(title=f"{files} passages of {lines} lines, the demo model's ids")
    for column in (
        "form",
        "longest prompt",
        "keys",
        "ids a prompt",
        "anew a key",
        f"keys with more than {_LONG}",
    ):
        table.add_column(column, justify="right")
    for one in found:
        for passage in chosen:
            one.type(passage, tokenizer)
        table.add_row(
            one.form,
            str(one.limit),
            str(one.keys),
            f"{one.ids / one.keys:.0f}",
            f"{one.anew / one.keys:.1f}",
            str(one.long),
        )
    Console().print(table)
    if json_file is not None:
        json_file.write_text(json.dumps([asdict(one) for one in found]), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
