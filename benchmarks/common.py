"""What the benchmarks share: models to measure on, the peers, runs by turns, tables and JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from engine.machine import configure_threads

configure_threads()  # as the engine's process does, before torch is imported

import torch  # noqa: E402
import typer  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from engine.decoding.decoder import PREFILL_CHUNK  # noqa: E402
from engine.kernels.build import shared_kernels  # noqa: E402
from engine.kv_cache.cache import KVCache  # noqa: E402
from engine.loading.catalog import EMBEDDED_DIR  # noqa: E402
from engine.loading.load import Loaded, load  # noqa: E402
from engine.network.lean_forward import LeanForward  # noqa: E402
from engine.settings import EngineSettings  # noqa: E402

SHAPES = {
    # width, layers, heads: of bigcode/tiny_starcoder_py, starcoderbase-1b and starcoder.
    "164m": (768, 20, 12),
    "1b": (2048, 24, 16),
    "15b": (6144, 40, 48),
}
_VOCAB_SIZE = 49152
_POSITIONS = 8192
_PAUSE_S = 0.05

PEER_VARIABLE = "STARCODER_LLAMA_PYTHON"
"""Names the Python of the environment that has llama-cpp-python and gguf."""

ShapeOption = Annotated[
    str | None, typer.Option(help=f"Random weights of this shape: {', '.join(SHAPES)}.")
]
ModelOption = Annotated[str, typer.Option(help="`demo`, a directory or a hub id.")]
RoundsOption = Annotated[int, typer.Option(min=1, help="Each takes one turn a round.")]
PeerOption = Annotated[
    Path | None,
    typer.Option("--llama", envvar=PEER_VARIABLE, help="Python that has llama-cpp-python."),
]
ThreadsOption = Annotated[
    int | None, typer.Option(min=1, help="Of each; by default all cores, one for a tiny model.")
]
JsonOption = Annotated[Path | None, typer.Option("--json", help="Write every run here.")]


@dataclass(frozen=True, slots=True)
class Timing:
    """One run, in milliseconds."""

    first: float
    """From the request to the first token: prefill and one choice."""
    each: float
    """A token after the first, on average."""


Contender = Callable[[tuple[int, ...], int], Timing]
"""Writes so many tokens after a prompt."""


def random_checkpoint(shape: str, folder: Path) -> Path:
    """Write a checkpoint of a shape with random weights in bfloat16, and return its folder."""
    from transformers import GPTBigCodeConfig, GPTBigCodeForCausalLM

    width, layers, heads = SHAPES[shape]
    config = GPTBigCodeConfig(
        vocab_size=_VOCAB_SIZE,
        n_positions=_POSITIONS,
        n_embd=width,
        n_layer=layers,
        n_head=heads,
        multi_query=True,
        bos_token_id=0,
        eos_token_id=0,
    )
    # On a GPU, and in two bytes from the start: 15.5 billion weights take minutes on a CPU.
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
            model = GPTBigCodeForCausalLM(config)
    finally:
        torch.set_default_dtype(before)
    model.save_pretrained(folder)
    del model
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # what torch keeps would be counted as taken
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((EMBEDDED_DIR / name).read_bytes())
    return folder


def folder_of(model: str) -> Path:
    """Return the folder of `demo`, of a directory, or of a hub id that is on disk."""
    from engine.loading.locate import locate

    return locate(EngineSettings(model=model), lambda *_: None)[1]


def load_ours(model: str, dtype: str) -> Loaded:
    """Load a model and wait for what is prepared in the background."""
    settings = EngineSettings(model=model, dtype=dtype)  # type: ignore[arg-type]
    held = load(settings, lambda *_: None)
    shared_kernels().wait()
    with torch.inference_mode():
        while held.decoder.forward.prepare():
            pass
    return held


def ours(held: Loaded, *, recorded: bool = True) -> Contender:
    """Return our forward as a contender, greedy; nothing is reused or drafted.

    On a GPU and without `recorded`, operations are launched one by one, over caches that grow.
    """

    def run(prompt: tuple[int, ...], count: int) -> Timing:
        started = time.perf_counter()
        ticks = [time.perf_counter() for _ in tokens(held, prompt, count, recorded=recorded)]
        return timing(started, ticks)

    return run


@torch.inference_mode()
def tokens(
    held: Loaded, prompt: tuple[int, ...], count: int, *, recorded: bool = True
) -> Iterator[int]:
    """Write so many tokens after a prompt, each when it is asked for."""
    forward = held.decoder.forward
    if not recorded:
        assert isinstance(forward, LeanForward)
        forward = LeanForward(forward.weights)
    cache = held.new_cache() if recorded else KVCache(held.cache_shape)
    step = list(prompt)
    for _ in range(count):
        for at in range(0, len(step), PREFILL_CHUNK):
            part = step[at : at + PREFILL_CHUNK]
            logits = forward(torch.tensor(part), cache)
            cache.commit(part)
        step = [int(logits[-1].argmax())]
        yield step[0]
    if held.arena is not None and cache.slot is not None:
        held.arena.give_back(cache.slot)


def timing(started: float, ticks: list[float]) -> Timing:
    """Return what the moments at which tokens came amount to."""
    rest = (ticks[-1] - ticks[0]) / max(1, len(ticks) - 1)
    return Timing((ticks[0] - started) * 1000, rest * 1000)


class LlamaCpp:
    """llama.cpp in a process of its own, with the same weights in one of its formats."""

    def __init__(self, python: Path, model: str, kind: str, scratch: Path) -> None:
        script = Path(__file__).with_name("llama_peer.py")
        file = scratch / f"{kind}.gguf"
        subprocess.run([python, "-P", script, "convert", folder_of(model), kind, file], check=True)
        threads, context = str(torch.get_num_threads()), "2048"
        if model == "demo":
            context = "1024"
        self._process = subprocess.Popen(
            [python, "-P", script, "run", file, threads, context],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()

    def generate(self, prompt: tuple[int, ...], count: int) -> dict[str, Any]:
        """Return the ids that it writes, greedy, and its milliseconds `first` and `each`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"prompt": prompt, "new": count}) + "\n")
        self._process.stdin.flush()
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found

    def __call__(self, prompt: tuple[int, ...], count: int) -> Timing:
        """See `Contender`."""
        found = self.generate(prompt, count)
        return Timing(found["first"], found["each"])

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def by_turns(
    contenders: Mapping[str, Contender], prompt: tuple[int, ...], new: int, rounds: int
) -> dict[str, list[Timing]]:
    """Let each run once a round, so that what else the machine does falls on all; one warms up."""
    runs: dict[str, list[Timing]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, contender in contenders.items():
            found = contender(prompt, new)
            if number:
                runs[name].append(found)
            time.sleep(_PAUSE_S)  # threads of the one before go to sleep
    return runs


def median(runs: list[Timing], part: Callable[[Timing], float]) -> float:
    """Return the median of a part of runs."""
    return statistics.median(part(one) for one in runs)


def machine() -> dict[str, Any]:
    """Return what a figure must be read with."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    cores = os.cpu_count()
    threads = torch.get_num_threads()
    return {"cpu": name, "cores": cores, "threads": threads, "gpu": gpu, "torch": torch.__version__}


def report(
    title: str,
    runs: Mapping[str, list[Timing]],
    part: Callable[[Timing], float],
    json_file: Path | None,
) -> None:
    """Print medians in milliseconds and their ratios, each of ours beside each other one."""
    others = [name for name in runs if not name.startswith("ours")]
    table = Table(title=title)
    for column in ("", "ms", "fastest", *(f"÷ {name}" for name in others)):
        table.add_column(column, justify="right")
    for name, found in runs.items():
        mine = median(found, part)
        ratios = [f"{mine / median(runs[other], part):.2f}" for other in others]
        table.add_row(name, f"{mine:.2f}", f"{min(map(part, found)):.2f}", *ratios)
    Console().print(table)
    Console().print(machine())
    if json_file is not None:
        kept = {name: [asdict(one) for one in found] for name, found in runs.items()}
        json_file.write_text(json.dumps({"title": title, "machine": machine(), "runs": kept}))
