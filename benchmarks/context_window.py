"""The part of the prompt that changes at each key, so that a KV cache cannot reuse it.

Passages of real files are typed key by key, and each prompt is compared with the previous ones. No
model runs and nothing is timed, so the counts are the same on every machine.
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
from engine.loading.on_disk import EMBEDDED_DIR
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

_CACHED_PROMPTS = 8
"""Number of previous prompts whose KV caches may be reused."""
_LONG_PREFILL = 16
"""Maximum tokens of a prefill that a user does not notice."""


@dataclass
class PromptCounts:
    """Counts of typing with one form and one maximum length of the prompt."""

    form: Form
    limit: int
    """Maximum prompt length in tokens."""
    keys: int = 0
    ids: int = 0
    """Token ids of all prompts."""
    computed: int = 0
    """Token ids after the longest prefix in common with a previous prompt."""
    long: int = 0
    """Keys with more than `_LONG_PREFILL` computed ids."""

    def type(self, passage: Passage, tokenizer: Tokenizer) -> None:
        """Type a passage and add its counts; its first prompt does not count."""
        family, encode = detect(tokenizer), cached_encoder(tokenizer.encode)
        previous: deque[tuple[int, ...]] = deque(maxlen=_CACHED_PROMPTS)
        text, rest = passage.file.text, passage.file.text[passage.end :]
        for cursor in range(passage.start, passage.end + 1):
            snapshot = Snapshot("", passage.file.language, text[:cursor] + rest, cursor)
            healed = without_last_characters(snapshot, len(partial_token(snapshot.line_before)))
            ids = build(healed, family, encode, self.limit, self.form)
            if previous:
                computed = len(ids) - max(_common_prefix(ids, prompt) for prompt in previous)
                self.keys += 1
                self.ids += len(ids)
                self.computed += computed
                self.long += computed > _LONG_PREFILL
            previous.append(ids)


def _common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """Return the length of the common prefix."""
    for index, (id_a, id_b) in enumerate(zip(a, b, strict=False)):
        if id_a != id_b:
            return index
    return min(len(a), len(b))


def main(
    folders: Annotated[list[Path], typer.Argument(help="Folders of source files.")],
    files: Annotated[int, typer.Option(min=1, help="Number of passages.")] = 12,
    lines: Annotated[int, typer.Option(min=1, help="Lines per passage.")] = 8,
    json_file: JsonOption = None,
) -> None:
    """Count the prompt's ids that each key makes the engine compute, by the prompt's form."""
    tokenizer = Tokenizer.from_file(EMBEDDED_DIR)
    typed_passages = passages(source_files(*folders), files, lines, 1)
    all_counts = [PromptCounts(form, limit) for form in FORMS for limit in (768, 2048)]
    table = Table(title=f"{files} passages of {lines} lines, the demo model's token ids")
    for column in (
        "form",
        "maximum prompt",
        "keys",
        "ids per prompt",
        "computed per key",
        f"keys with more than {_LONG_PREFILL}",
    ):
        table.add_column(column, justify="right")
    for counts in all_counts:
        for passage in typed_passages:
            counts.type(passage, tokenizer)
        table.add_row(
            counts.form,
            str(counts.limit),
            str(counts.keys),
            f"{counts.ids / counts.keys:.0f}",
            f"{counts.computed / counts.keys:.1f}",
            str(counts.long),
        )
    Console().print(table)
    if json_file is not None:
        rows = [asdict(counts) for counts in all_counts]
        json_file.write_text(json.dumps(rows), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
