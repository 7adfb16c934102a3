"""Passes of the model a token with drafts and without, on real holes; the answers are equal.

Holes are cut into the source files of a folder and filled: one token a pass, then with guesses
looked up in the prompt. Then the first word of what the hole really had is typed, and it is filled
again: plainly, by look-up, and with the suggestion from before as a draft. Only places count where
the typed word is not how the suggestion began: else nobody would ask the model. The ratio of the
whole decoding times is what to quote beside passes a token.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
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
from engine.decoding.draft_model import DraftModel
from engine.decoding.drafter import Drafter
from engine.network.model import LoadedModel
from fim.evaluation.files import source_files
from fim.evaluation.holes import HoleKind, draw_holes
from fim.prompt.build import build
from fim.prompt.families import detect
from fim.settings import DEFAULT_FORM, FORMS
from fim.snapshot import Snapshot

_WORD = re.compile(r"\s*(\w+|[^\w\s]+)")


@dataclass
class Way:
    """What filling all holes one way came to."""

    tokens: int = 0
    passes: int = 0
    """Of decoding; the one that reads the prompt is none."""
    drafted: int = 0
    accepted: int = 0
    decode_ms: float = 0.0
    differing: int = 0
    """Answers other than the plain one: there must be none, but for ties of floating point."""

    def add(self, ids: list[int], usage: Usage, plain: list[int]) -> None:
        """Count an answer in."""
        self.tokens += len(ids)
        self.passes += max(0, len(ids) - 1 - usage.accepted_tokens)
        self.drafted += usage.drafted_tokens
        self.accepted += usage.accepted_tokens
        self.decode_ms += usage.decode_ms
        self.differing += ids != plain


@contextmanager
def no_drafts() -> Iterator[None]:
    """Guess nothing while the block runs."""
    real = Drafter.propose
    Drafter.propose = lambda *_: ()  # type: ignore[method-assign]
    try:
        yield
    finally:
        Drafter.propose = real  # type: ignore[method-assign]


class Filler:
    """Fills holes with a model alone, nothing of whose prompts is reused."""

    def __init__(self, model: LoadedModel, new: int, draft_model: DraftModel | None = None) -> None:
        self._model, self._new, self._draft_model = model, new, draft_model
        self._tokenizer = model.tokenizer
        self._family = detect(self._tokenizer)

    def fill(
        self, prefix: str, suffix: str, draft: tuple[int, ...] = ()
    ) -> tuple[list[int], Usage]:
        """Return the ids that fill a hole, nothing reused, and what they cost."""
        snapshot = Snapshot("u", "python", prefix + suffix, len(prefix))
        form = next((form for form in FORMS if form == self._model.info.fim_form), DEFAULT_FORM)
        limit = min(2048, self._model.info.context_window - self._new)
        prompt = build(snapshot, self._family, self._tokenizer.encode, limit, form)
        stops = self._family.stop_ids
        request = GenerationRequest(prompt.ids, self._new, stop_ids=stops, draft_tokens=draft)
        chunks = SteppedScheduler(self._model, self._draft_model).run(request)
        usage = chunks[-1].usage
        assert usage is not None
        return ids_of(chunks), usage

    def text(self, ids: list[int]) -> str:
        """Return what ids are written as."""
        return self._tokenizer.decode(ids)


def main(
    path: Annotated[Path, typer.Argument(help="A folder of source files.")],
    model: ModelOption = "demo",
    dtype: Annotated[str, typer.Option(help="As the setting.")] = "auto",
    count: Annotated[int, typer.Option(min=1)] = 60,
    new: Annotated[int, typer.Option(help="Tokens to write at most.")] = 64,
    kind: Annotated[HoleKind, typer.Option()] = HoleKind.BLOCK,
    json_file: JsonOption = None,
) -> None:
    """Fill holes all ways and print what a token costs."""
    filler = Filler(load_ours(model, dtype), new)
    names = ("a hole: plain", "look-up", "a word later: plain", "by look-up", "with the draft")
    ways = {name: Way() for name in names}
    for hole in track(draw_holes(source_files(path), [kind], count, 0), transient=True):
        with no_drafts():
            before, usage = filler.fill(hole.prefix, hole.suffix)
        ways[names[0]].add(before, usage, before)
        ways[names[1]].add(*filler.fill(hole.prefix, hole.suffix), before)
        word = _WORD.match(hole.middle)
        if word is None or filler.text(before).startswith(word[0]):
            continue
        prefix = hole.prefix + word[0]
        with no_drafts():
            plain, usage = filler.fill(prefix, hole.suffix)
        ways[names[2]].add(plain, usage, plain)
        ways[names[3]].add(*filler.fill(prefix, hole.suffix), plain)
        ways[names[4]].add(*filler.fill(prefix, hole.suffix, tuple(before)), plain)
    _report(model, ways, json_file)


def _report(model: str, ways: dict[str, Way], json_file: Path | None) -> None:
    table = Table(title=model)
    for column in (
        "",
        "tokens",
        "passes a token",
        "ms a token",
        "÷ plain",
        "drafted",
        "accepted",
        "differing",
    ):
        table.add_column(column, justify="right")
    plain = Way()
    for name, way in ways.items():
        plain = way if "plain" in name else plain
        each, of_plain = (one.decode_ms / max(1, one.tokens) for one in (way, plain))
        table.add_row(
            name,
            str(way.tokens),
            f"{way.passes / max(1, way.tokens):.2f}",
            f"{each:.2f}",
            f"{each / of_plain:.2f}" if of_plain else "",
            str(way.drafted),
            str(way.accepted),
            str(way.differing),
        )
    Console().print(table)
    Console().print(machine())
    if json_file is not None:
        kept = {name: asdict(way) for name, way in ways.items()}
        json_file.write_text(json.dumps({"machine": machine(), "ways": kept}), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
