"""Milliseconds a decoded token and to the first token: ours beside transformers' `generate`.

Both run the same weights on the same ids, in turn within one process, so that what else the machine
does falls on both; the medians and their ratio are printed. Our prefix cache is emptied before each
run: nothing is reused.
"""

from __future__ import annotations

import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import torch
import typer
from rich.console import Console
from rich.table import Table
from transformers import AutoModelForCausalLM, GPTBigCodeConfig, GPTBigCodeForCausalLM
from transformers.generation.streamers import BaseStreamer

from engine.api import GenerationRequest
from engine.catalog import EMBEDDED_DIR
from engine.decoding import Decoder
from engine.kv_cache import KVCache
from engine.loading import Loaded, load
from engine.settings import Dtype, EngineSettings

SHAPES = {
    # width, layers, heads: of bigcode/tiny_starcoder_py and bigcode/starcoderbase-1b.
    "164m": (768, 20, 12),
    "1b": (2048, 24, 16),
}
_VOCAB_SIZE = 49152
_POSITIONS = 8192


@dataclass(frozen=True, slots=True)
class Timing:
    """One run, in milliseconds."""

    first: float
    """From the request to the first token: prefill and one choice."""
    each: float
    """A token after the first, on average."""


class _Ticks(BaseStreamer):  # type: ignore[misc]
    """Notes when `generate` gives out each token."""

    def __init__(self) -> None:
        self.at: list[float] = []

    def put(self, value: Any) -> None:
        self.at.append(time.perf_counter())

    def end(self) -> None:
        """Nothing to do."""


def _timing(started: float, ticks: list[float]) -> Timing:
    rest = (ticks[-1] - ticks[0]) / max(1, len(ticks) - 1)
    return Timing((ticks[0] - started) * 1000, rest * 1000)


def run_ours(held: Loaded, prompt: tuple[int, ...], count: int) -> Timing:
    """Time our decoder."""
    ticks: list[float] = []
    choose = held.decoder.forward

    class Ticking:
        def __call__(self, ids: torch.Tensor, cache: KVCache, *, last: int = 1) -> Any:
            logits = choose(ids, cache, last=last)
            ticks.append(time.perf_counter())
            return logits

        batch = choose.batch

    decoder = Decoder(
        Ticking(), held.decoder.tokenizer, held.decoder.context_window, held.decoder.vocab_size,
        frozenset(),
    )  # fmt: skip
    started = time.perf_counter()
    for _ in decoder.generate(GenerationRequest(prompt, count), KVCache(held.cache_shape), _never):
        pass
    # A long prompt takes several steps; the last of them brings the first token.
    return _timing(started, ticks[-count:])


def run_generate(model: Any, prompt: tuple[int, ...], count: int) -> Timing:
    """Time transformers' `generate`, greedy, without an end-of-text id to stop at."""
    ticks = _Ticks()
    started = time.perf_counter()
    model.generate(
        torch.tensor([prompt], device=model.device), max_new_tokens=count, min_new_tokens=count,
        do_sample=False, pad_token_id=0, streamer=ticks,
    )  # fmt: skip
    return _timing(started, ticks.at[1:])  # the first put is the prompt itself


def _never() -> bool:
    return False


def _random_checkpoint(shape: str, folder: Path) -> Path:
    width, layers, heads = SHAPES[shape]
    config = GPTBigCodeConfig(
        vocab_size=_VOCAB_SIZE, n_positions=_POSITIONS, n_embd=width, n_layer=layers, n_head=heads,
        multi_query=True, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    GPTBigCodeForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((EMBEDDED_DIR / name).read_bytes())
    return folder


def _machine() -> dict[str, Any]:
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return {"cpu": name, "threads": torch.get_num_threads(), "gpu": gpu, "torch": torch.__version__}


def _median(runs: list[Timing], part: Callable[[Timing], float]) -> float:
    return statistics.median(part(one) for one in runs)


def main(
    model: Annotated[str, typer.Option(help="`demo`, a directory or a hub id.")] = "demo",
    shape: Annotated[
        str | None, typer.Option(help=f"Random weights instead: {', '.join(SHAPES)}.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="As in the setting of that name.")] = "auto",
    prompt: Annotated[int, typer.Option(min=1, help="Prompt length in tokens.")] = 500,
    new: Annotated[int, typer.Option(min=2, help="Tokens to write.")] = 32,
    rounds: Annotated[int, typer.Option(min=1)] = 7,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the figures here.")
    ] = None,
) -> None:
    """Compare our decoding with transformers' `generate`."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(_random_checkpoint(shape, Path(folder))) if shape else model
        settings = EngineSettings(model=path, dtype=cast(Dtype, dtype))
        held = load(settings, lambda *_: None)
        where = EMBEDDED_DIR if path == "demo" else path
        reference = AutoModelForCausalLM.from_pretrained(
            where, dtype=getattr(torch, held.info.dtype), device_map=held.info.device
        ).eval()
    ids = tuple(torch.randint(19, held.decoder.vocab_size, (prompt,)).tolist())
    ours, theirs = [], []
    for number in range(rounds + 1):
        pair = run_ours(held, ids, new), run_generate(reference, ids, new)
        if number:  # the first round warms up
            ours.append(pair[0])
            theirs.append(pair[1])
    _report(shape or model, held, ours, theirs, prompt, json_file)


def _report(
    name: str, held: Loaded, ours: list[Timing], theirs: list[Timing], prompt: int,
    json_file: Path | None,
) -> None:  # fmt: skip
    machine = _machine()
    table = Table(title=f"{name}, {held.info.dtype}, {prompt} prompt tokens, {len(ours)} rounds")
    for column in ("milliseconds", "ours", "generate", "ratio"):
        table.add_column(column, justify="right")
    figures: dict[str, Any] = {"model": name, "dtype": held.info.dtype, "prompt": prompt}
    parts: dict[str, Callable[[Timing], float]] = {
        "to the first token": lambda t: t.first, "each token after": lambda t: t.each,
    }  # fmt: skip
    for label, part in parts.items():
        mine, other = _median(ours, part), _median(theirs, part)
        table.add_row(label, f"{mine:.2f}", f"{other:.2f}", f"{mine / other:.2f}")
        figures[label] = {"ours": mine, "generate": other, "ratio": mine / other}
    Console().print(table)
    Console().print(machine)
    if json_file is not None:
        runs = {"ours": [asdict(t) for t in ours], "generate": [asdict(t) for t in theirs]}
        json_file.write_text(json.dumps({**figures, "machine": machine, "runs": runs}, indent=1))


if __name__ == "__main__":
    typer.run(main)
