"""Forward passes and time per token with and without draft tokens, on real holes.

Holes are cut into the source files of a folder and filled: one token per pass, then with draft
tokens by prompt lookup. Then the first word of the hole's text is typed, and the hole is filled
again: one token per pass, by lookup, and with the first output as draft tokens. A hole counts only
if the first output does not begin with the typed word; otherwise an editor would not ask the model.

The outputs are equal. Quote the ratio of the decoding times together with the passes per token.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.common import JsonOption, ModelOption, load_ours, machine
from benchmarks.stepped_scheduler import SteppedScheduler, ids_of
from engine.api import GenerationRequest, Usage
from engine.decoding.draft_length import DraftLengths
from engine.decoding.draft_model import DraftModel
from engine.network.model import LoadedModel
from fim.evaluation.files import source_files
from fim.evaluation.holes import HoleKind, draw_holes
from fim.prompt.build import build
from fim.prompt.families import detect
from fim.settings import DEFAULT_FORM, FORMS
from fim.snapshot import Snapshot

_MAX_PROMPT = 2048
_WORD = re.compile(r"\s*(\w+|[^\w\s]+)")
_PLAIN, _LOOKUP = "hole: plain", "hole: lookup"
_WORD_PLAIN, _WORD_LOOKUP = "word: plain", "word: lookup"
_WORD_DRAFT = "word: first output"


class NoDrafts(DraftLengths):
    """Draft lengths that are always 0: every pass decodes one token."""

    def best(
        self, acceptance_rate: float, max_tokens: int, other_rows: int, token_ms: float = 0.0
    ) -> tuple[int, float]:
        """Return that no draft token pays off."""
        return 0, 0.0


@dataclass
class DraftingResult:
    """Totals of filling all holes with one source of draft tokens."""

    tokens: int = 0
    passes: int = 0
    """Forward passes of decoding, without those of the prefill."""
    drafted: int = 0
    accepted: int = 0
    decode_ms: float = 0.0
    differing: int = 0
    """Outputs that differ from the plain one. Only ties of floating-point values allow any."""

    def add(self, ids: list[int], usage: Usage, plain_ids: list[int]) -> None:
        """Add the output for one hole."""
        self.tokens += len(ids)
        self.passes += max(0, len(ids) - 1 - usage.accepted_tokens)
        self.drafted += usage.drafted_tokens
        self.accepted += usage.accepted_tokens
        self.decode_ms += usage.decode_ms
        self.differing += ids != plain_ids


class Filler:
    """Fills holes with a model alone, without the prefix cache."""

    def __init__(
        self,
        model: LoadedModel,
        max_new_tokens: int,
        *,
        drafts: bool = True,
        draft_model: DraftModel | None = None,
    ) -> None:
        """Create a filler; without `drafts` every pass decodes one token."""
        self._model, self._max_new_tokens = model, max_new_tokens
        self._tokenizer = model.tokenizer
        self._family = detect(self._tokenizer)
        draft_lengths = None if drafts else NoDrafts(model.costs)
        self._scheduler = SteppedScheduler(model, draft_model, draft_lengths=draft_lengths)

    def prompt(self, prefix: str, suffix: str) -> tuple[int, ...]:
        """Return the prompt for a hole."""
        snapshot = Snapshot("u", "python", prefix + suffix, len(prefix))
        form = next((form for form in FORMS if form == self._model.info.fim_form), DEFAULT_FORM)
        limit = min(_MAX_PROMPT, self._model.context_window - self._max_new_tokens)
        return build(snapshot, self._family, self._tokenizer.encode, limit, form)

    def fill(
        self, prompt: tuple[int, ...], draft_tokens: tuple[int, ...] = ()
    ) -> tuple[list[int], Usage]:
        """Return the token ids that fill a hole, and their cost."""
        request = GenerationRequest(
            prompt,
            self._max_new_tokens,
            stop_ids=self._family.stop_ids,
            draft_tokens=draft_tokens,
        )
        self._scheduler.clear()
        chunks = self._scheduler.run(request)
        usage = chunks[-1].usage
        assert usage is not None
        return ids_of(chunks), usage

    def text(self, ids: list[int]) -> str:
        """Return the text of token ids."""
        return self._tokenizer.decode(ids)


def main(
    path: Annotated[Path, typer.Argument(help="Folder of source files.")],
    model: ModelOption = "demo",
    dtype: Annotated[str, typer.Option(help="Number format of the weights.")] = "auto",
    count: Annotated[int, typer.Option(min=1, help="Number of holes.")] = 60,
    new: Annotated[int, typer.Option(help="Maximum number of tokens per hole.")] = 64,
    kind: Annotated[HoleKind, typer.Option(help="Kind of the holes.")] = HoleKind.BLOCK,
    json_file: JsonOption = None,
) -> None:
    """Fill holes with each source of draft tokens, and print the cost of a token."""
    loaded = load_ours(model, dtype)
    plain, drafting = Filler(loaded, new, drafts=False), Filler(loaded, new)
    names = (_PLAIN, _LOOKUP, _WORD_PLAIN, _WORD_LOOKUP, _WORD_DRAFT)
    results = {name: DraftingResult() for name in names}
    for hole in track(draw_holes(source_files(path), [kind], count, 0), transient=True):
        prompt = plain.prompt(hole.prefix, hole.suffix)
        first_ids, usage = plain.fill(prompt)
        results[_PLAIN].add(first_ids, usage, first_ids)
        results[_LOOKUP].add(*drafting.fill(prompt), first_ids)
        word = _WORD.match(hole.middle)
        if word is None or plain.text(first_ids).startswith(word[0]):
            continue
        prompt = plain.prompt(hole.prefix + word[0], hole.suffix)
        plain_ids, usage = plain.fill(prompt)
        results[_WORD_PLAIN].add(plain_ids, usage, plain_ids)
        results[_WORD_LOOKUP].add(*drafting.fill(prompt), plain_ids)
        results[_WORD_DRAFT].add(*drafting.fill(prompt, tuple(first_ids)), plain_ids)
    _report(model, results, json_file)


_COLUMNS = (
    "",
    "tokens",
    "passes per token",
    "ms per token",
    "÷ plain",
    "drafted",
    "accepted",
    "differing",
)


def _report(model: str, results: dict[str, DraftingResult], json_file: Path | None) -> None:
    table = Table(title=model)
    for column in _COLUMNS:
        table.add_column(column, justify="right")
    for name, result in results.items():
        plain = results[_PLAIN if name in (_PLAIN, _LOOKUP) else _WORD_PLAIN]
        token_ms, plain_ms = (r.decode_ms / max(1, r.tokens) for r in (result, plain))
        table.add_row(
            name,
            str(result.tokens),
            f"{result.passes / max(1, result.tokens):.2f}",
            f"{token_ms:.2f}",
            f"{token_ms / plain_ms:.2f}" if plain_ms else "",
            str(result.drafted),
            str(result.accepted),
            str(result.differing),
        )
    Console().print(table)
    Console().print(machine())
    if json_file is not None:
        rows = {name: asdict(result) for name, result in results.items()}
        content = {"machine": machine(), "results": rows}
        json_file.write_text(json.dumps(content), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
