"""Perplexity of a real model in each number format, relative to transformers in float32.

Both compute the same windows of the held-out text (`benchmarks.real_model.prompts`). Each window
starts with an empty KV cache. The difference per token finds errors that the mean hides.
"""

from __future__ import annotations

import json
import math
import platform
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.common import JsonOption, load_ours, machine
from benchmarks.real_model.prompts import windows
from benchmarks.stepped_scheduler import score_alone
from engine.network.model import LoadedModel

import torch  # isort: skip

DTYPES = ("float32", "bfloat16", "int8", "int4")
WINDOW = 1024
"""Tokens of a window."""

FolderArgument = Annotated[str, typer.Argument(help="Folder of the real model's checkpoint.")]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A number format compared with transformers in float32."""

    perplexity: float
    relative_difference: float
    """Its perplexity divided by the reference's, minus 1."""
    nats_per_token: float
    """Mean distance of a token's log-probability from the reference's."""


@torch.inference_mode()
def reference_logprobs(folder: str, texts: list[tuple[int, ...]]) -> list[float]:
    """Return the log-probability that transformers gives to each id after the first of a text."""
    from transformers import AutoModelForCausalLM

    module = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    logprobs: list[float] = []
    for ids in track(texts, "transformers float32", transient=True):
        rows = module(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
        logprobs += cast(list[float], rows.gather(1, torch.tensor(ids[1:])[:, None])[:, 0].tolist())
    return logprobs


def our_logprobs(model: LoadedModel, texts: list[tuple[int, ...]]) -> list[float]:
    """Return the log-probability that our engine gives to each id after the first of a text."""
    description = f"ours {model.info.dtype}"
    scores = [score_alone(model, ids) for ids in track(texts, description, transient=True)]
    return [score.logprob for text in scores for score in text if score is not None]


def perplexity(logprobs: list[float]) -> float:
    """Return the perplexity of a text from the log-probabilities of its tokens."""
    return math.exp(-statistics.fmean(logprobs))


def compare(logprobs: list[float], reference: list[float]) -> Comparison:
    """Compare log-probabilities of the same tokens."""
    value = perplexity(logprobs)
    distances = (abs(a - b) for a, b in zip(logprobs, reference, strict=True))
    return Comparison(value, value / perplexity(reference) - 1, statistics.fmean(distances))


def main(
    folder: FolderArgument,
    dtype: Annotated[list[str], typer.Option(help="Number format.")] = list(DTYPES),  # noqa: B006
    gguf: Annotated[
        Path | None,
        typer.Option(help="GGUF file of these weights, measured as `auto` loads it."),
    ] = None,
    step: Annotated[int, typer.Option(min=1, help="Measure each n-th window only.")] = 1,
    json_file: JsonOption = None,
) -> None:
    """Print the perplexity in each number format."""
    results: dict[str, Comparison] = {}
    reference: list[float] = []
    texts: list[tuple[int, ...]] = []
    contenders = {name: (folder, name) for name in dtype}
    if gguf is not None:
        contenders[gguf.name] = str(gguf), "auto"
    for name, (path, number_format) in contenders.items():
        model = load_ours(path, number_format)
        texts = texts or windows(model.tokenizer, WINDOW)[::step]
        reference = reference or reference_logprobs(folder, texts)
        results[name] = compare(our_logprobs(model, texts), reference)
        del model  # free the memory before the next model is loaded
    title = f"{len(texts)} windows of {WINDOW} tokens, Python {platform.python_version()}"
    Console().print(_table(title, results, perplexity(reference)))
    Console().print(machine())
    if json_file is not None:
        figures = {name: asdict(result) for name, result in results.items()}
        json_file.write_text(json.dumps({"title": title, "machine": machine(), **figures}))


def _table(title: str, results: dict[str, Comparison], reference: float) -> Table:
    table = Table(title=title)
    for column in ("", "perplexity", "relative difference", "nats per token apart"):
        table.add_column(column, justify="right")
    table.add_row("transformers float32", f"{reference:.4f}", "", "")
    for name, result in results.items():
        table.add_row(
            f"ours {name}",
            f"{result.perplexity:.4f}",
            f"{100 * result.relative_difference:+.4f} %",
            f"{result.nats_per_token:.5f}",
        )
    return table


if __name__ == "__main__":
    typer.run(main)
