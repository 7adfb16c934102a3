"""Milliseconds a decoded token with and without drafts, on real holes; the answers are equal.

Holes are cut into the source files of a folder, each is filled both ways in turn, and the ratio of
the whole decoding times is what to quote.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from engine.api import GenerationRequest, Usage
from engine.draft import Drafter
from engine.kv_cache import KVCache
from engine.loading import Loaded, load
from engine.settings import EngineSettings
from fim.evaluation.files import source_files
from fim.evaluation.holes import Hole, Kind, draw
from fim.families import detect
from fim.prompt import DEFAULT_FORM, FORMS, build
from fim.snapshot import Snapshot


class _NoDrafts(Drafter):
    def propose(self, most: int) -> tuple[int, ...]:
        return ()


def _fill(model: Loaded, hole: Hole, new: int, drafter: type[Drafter]) -> tuple[list[int], Usage]:
    tokenizer, family = model.decoder.tokenizer, detect(model.decoder.tokenizer)
    text = hole.prefix + hole.suffix
    snapshot = Snapshot("u", hole.language, text, len(hole.prefix))
    form = next((form for form in FORMS if form == model.info.fim_form), DEFAULT_FORM)
    limit = min(2048, model.info.context_window - new)
    prompt = build(snapshot, family, tokenizer.encode, limit, form)
    request = GenerationRequest(prompt.ids, new, stop_ids=family.stop_ids)
    import engine.decoding as decoding

    decoding.Drafter = drafter  # type: ignore[attr-defined]
    chunks = list(model.decoder.generate(request, KVCache(model.cache_shape), lambda: False))
    usage = chunks[-1].usage
    assert usage is not None
    return [id_ for chunk in chunks for id_ in chunk.ids], usage


def main(
    path: Annotated[Path, typer.Argument(help="A folder of source files.")],
    model: Annotated[str, typer.Option()] = "demo",
    count: Annotated[int, typer.Option(min=1)] = 60,
    new: Annotated[int, typer.Option(help="Tokens to write at most.")] = 64,
    kind: Annotated[Kind, typer.Option()] = Kind.BLOCK,
    out: Annotated[Path | None, typer.Option("--json", help="Keep every time.")] = None,
) -> None:
    """Fill holes both ways and print what a token costs."""
    loaded = load(EngineSettings(model=model), lambda *_: None)
    times: dict[str, list[float]] = {"plain": [], "drafts": []}
    tokens = drafted = accepted = differing = 0
    for hole in track(draw(source_files(path), [kind], count, 0), transient=True):
        plain, usage = _fill(loaded, hole, new, _NoDrafts)
        ids, draft_usage = _fill(loaded, hole, new, Drafter)
        times["plain"].append(usage.decode_ms)
        times["drafts"].append(draft_usage.decode_ms)
        tokens += len(plain)
        drafted += draft_usage.drafted_tokens
        accepted += draft_usage.accepted_tokens
        differing += ids != plain
    each = {name: sum(found) / max(1, tokens) for name, found in times.items()}
    table = Table(title=f"{loaded.info.model}, {torch.get_num_threads()} threads, {tokens} tokens")
    for column in ("ms a token, plain", "with drafts", "ratio", "drafted", "accepted", "differing"):
        table.add_column(column)
    ratio = each["drafts"] / each["plain"]
    shown = (f"{each['plain']:.2f}", f"{each['drafts']:.2f}", f"{ratio:.2f}")
    table.add_row(*shown, str(drafted), str(accepted), str(differing))
    Console().print(table)
    if out is not None:
        out.write_text(json.dumps(times), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
