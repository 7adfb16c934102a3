"""The greedy output of a real model compared with transformers' `generate`, in float32.

The engine generates for the same prompts in five ways: one request alone, with a part of the prompt
in the prefix cache, in batches, with draft tokens of which some are wrong, and all of that together
through `LocalEngine`. Where an output differs, the table names the gap between transformers' two
largest logits: only a gap near 0 is a tie of floating-point values.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.common import JsonOption, load_ours, machine
from benchmarks.real_model.modes import Ids, Modes, through_engine
from benchmarks.real_model.perplexity import FolderArgument
from benchmarks.real_model.prompts import Prompt, read_prompts
from engine.network.model import LoadedModel
from engine.settings import Dtype, EngineSettings

import torch  # isort: skip

NEW_TOKENS = 64
DTYPE: Dtype = "float32"


@dataclass(frozen=True, slots=True)
class Reference:
    """transformers' prompt and greedy output for one prompt."""

    prompt: Ids
    output: Ids
    """Generated ids, without the id that ends them."""
    gaps: list[float]
    """Difference of the two largest logits for each generated id, also the one that ends them."""


@torch.inference_mode()
def references(
    folder: str, prompts: Sequence[Prompt], end_ids: frozenset[int], new: int
) -> list[Reference]:
    """Return transformers' greedy outputs in float32."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    module = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return [
        _reference(module, _ids_of_transformers(tokenizer, prompt), end_ids, new)
        for prompt in track(prompts, f"transformers {DTYPE}", transient=True)
    ]


def _ids_of_transformers(tokenizer: Any, prompt: Prompt) -> Ids:
    if not prompt.messages:
        return list(tokenizer(prompt.text)["input_ids"])
    messages = [asdict(message) for message in prompt.messages]
    return list(tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"])


def _reference(module: Any, prompt: Ids, end_ids: frozenset[int], new: int) -> Reference:
    generated = module.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        max_new_tokens=new,
        do_sample=False,
        eos_token_id=sorted(end_ids),
        pad_token_id=min(end_ids),
        return_dict_in_generate=True,
        output_logits=True,
    )
    output: Ids = generated.sequences[0, len(prompt) :].tolist()
    largest = [logits[0].topk(2).values.tolist() for logits in generated.logits]
    gaps = [first - second for first, second in largest]
    return Reference(prompt, output[:-1] if output[-1] in end_ids else output, gaps)


def in_all_modes(
    model: LoadedModel, settings: EngineSettings, expected: Sequence[Reference], new: int
) -> tuple[dict[str, list[Ids]], dict[str, int]]:
    """Return the outputs in each mode by its name, and what was reused and drafted."""
    modes = Modes(model, new)
    prompts = [list(reference.prompt) for reference in expected]
    outputs = [reference.output for reference in expected]
    runs: dict[str, Callable[[], list[Ids]]] = {
        "alone": lambda: modes.alone(prompts),
        "with reuse": lambda: modes.with_reuse(prompts),
        "in batches": lambda: modes.in_batches(prompts),
        "with drafts": lambda: modes.with_drafts(prompts, outputs),
        "through the engine": lambda: asyncio.run(through_engine(settings, prompts, new)),
    }
    by_mode = {name: run() for name, run in track(runs.items(), "ours", transient=True)}
    return by_mode, dict(modes.counts)


def first_difference(output: Ids, reference: Reference) -> str:
    """Return where an output leaves the reference and how clear its choice was; empty if equal."""
    if output == reference.output:
        return ""
    pairs = zip(output, reference.output, strict=False)
    length = min(len(output), len(reference.output))
    position = next((i for i, (ours, theirs) in enumerate(pairs) if ours != theirs), length)
    gap = reference.gaps[position] if position < len(reference.gaps) else float("nan")
    return f"token {position}, gap {gap:.6f}"


def main(
    folder: FolderArgument,
    count: Annotated[int | None, typer.Option(min=1, help="Only the first prompts.")] = None,
    step: Annotated[int, typer.Option(min=1, help="Only each n-th prompt.")] = 1,
    new: Annotated[int, typer.Option(min=1, help="Number of tokens to generate.")] = NEW_TOKENS,
    json_file: JsonOption = None,
) -> None:
    """Count the prompts for which the output is that of transformers."""
    prompts = read_prompts()[:count:step]
    model = load_ours(folder, DTYPE)
    expected = references(folder, prompts, model.end_ids, new)
    same_prompts = sum(
        prompt.ids(model) == tuple(reference.prompt)
        for prompt, reference in zip(prompts, expected, strict=True)
    )
    settings = EngineSettings(model=folder, dtype=DTYPE)
    by_mode, counts = in_all_modes(model, settings, expected, new)
    differences = {
        name: [
            f"{prompt.kind} prompt {number}: {difference}"
            for number, (prompt, output, reference) in enumerate(
                zip(prompts, outputs, expected, strict=True)
            )
            if (difference := first_difference(output, reference))
        ]
        for name, outputs in by_mode.items()
    }
    Console().print(_table(len(prompts), new, same_prompts, differences))
    Console().print(counts, machine())
    if json_file is not None:
        figures = {"prompts": len(prompts), "same": same_prompts, "differences": differences}
        json_file.write_text(json.dumps({**figures, "machine": machine(), "counts": counts}))


def _table(count: int, new: int, same_prompts: int, differences: dict[str, list[str]]) -> Table:
    table = Table(title=f"{count} prompts, up to {new} new tokens, {DTYPE}")
    for column in ("", "equal to transformers", "differences"):
        table.add_column(column)
    table.add_row("prompts", f"{same_prompts} of {count}", "")
    for name, lines in differences.items():
        table.add_row(name, f"{count - len(lines)} of {count}", "\n".join(lines))
    return table


if __name__ == "__main__":
    typer.run(main)
