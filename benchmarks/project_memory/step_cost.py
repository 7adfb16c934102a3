"""What the memory costs in a step of the engine: the mixture for one row, and the draft tokens.

The passages are those of random places in the installed Python packages. The steps are those of the
text that follows, up to 60 characters. The processor time of the thread counts, so other programs
disturb little. The cost of the search in the index is that of `benchmarks.project_index`.
"""

from __future__ import annotations

import random
import time
from typing import Annotated

import torch
import typer
from rich.console import Console

from benchmarks.common import load_ours, machine
from benchmarks.project_index import installed_texts
from engine.api import Memory
from engine.decoding.generation import DecodingContext
from engine.decoding.memory_text import MemoryText
from engine.decoding.mixture import Mixer
from fim.evaluation.report import percentile
from fim.memory.project_memory import ProjectMemory

_NUM_PLACES = 200
_CHARACTERS = 60
_BEFORE = 200
_DRAFT_TOKENS = 16


def main(
    characters: Annotated[int, typer.Option(min=1, help="Characters of the project.")] = 10_000_000,
    model: Annotated[str, typer.Option(help="`demo`, a directory or a Hub id.")] = "demo",
) -> None:
    """Print the milliseconds of the mixture and of a draft, p50 and p95."""
    context = DecodingContext.of(load_ours(model, "auto"))
    texts, memory, rng = installed_texts(characters), ProjectMemory(), random.Random(3)
    for key, text in texts.items():
        memory.put(key, text)
    memory.build()
    costs: dict[str, list[float]] = {"mixture": [], "draft": []}
    for _ in range(_NUM_PLACES):
        key = rng.choice(list(texts))
        text, cursor = texts[key], rng.randrange(len(texts[key]) + 1)
        passages = memory.passages(key, text, cursor)
        if passages:
            pieces = tuple(each.before + each.after for each in passages)
            before = text[max(0, cursor - _BEFORE) : cursor]
            _run_steps(context, Memory(before, pieces), text[cursor : cursor + _CHARACTERS], costs)
    console = Console()
    for name, values in costs.items():
        p50, p95 = (percentile(sorted(values), share) for share in (0.5, 0.95))
        console.print(f"{name}: p50 {p50:.3f} ms, p95 {p95:.3f} ms in {len(values)} steps")
    console.print(machine())


@torch.inference_mode()
def _run_steps(
    context: DecodingContext, memory: Memory, following: str, costs: dict[str, list[float]]
) -> None:
    text = MemoryText(memory, context.continuation_tokens)
    mixer = Mixer(text)
    for id_ in context.vocabulary.encode(following):
        logits = torch.randn(1, context.model.vocab_size)
        started = time.thread_time()
        mixer.mix(logits)
        mixed = time.thread_time()
        text.draft(_DRAFT_TOKENS)
        costs["mixture"].append((mixed - started) * 1000)
        costs["draft"].append((time.thread_time() - mixed) * 1000)
        text.write(id_)


if __name__ == "__main__":
    typer.run(main)
