"""Shared parts of the benchmarks: models, contenders, runs by turns, tables and JSON."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from engine.machine import configure_threads

configure_threads()  # as in the engine's process; must run before torch is imported

import torch  # noqa: E402
import typer  # noqa: E402

from benchmarks.stepped_scheduler import finish_preparing, new_cache  # noqa: E402
from engine.kv_cache.cache import KVCache  # noqa: E402
from engine.loading.load import load  # noqa: E402
from engine.loading.on_disk import EMBEDDED_DIR  # noqa: E402
from engine.network.batch import BatchEntry  # noqa: E402
from engine.network.lean_forward import LeanForward  # noqa: E402
from engine.network.model import LoadedModel  # noqa: E402
from engine.settings import EngineSettings  # noqa: E402

SHAPES = {
    # Width, layers and heads of bigcode/tiny_starcoder_py, starcoderbase-1b and starcoder.
    "164m": (768, 20, 12),
    "1b": (2048, 24, 16),
    "15b": (6144, 40, 48),
}
_VOCAB_SIZE = 49152
_POSITIONS = 8192
_PREFILL_CHUNK = 512
"""Tokens per forward pass of a prefill."""
_PAUSE_S = 0.05

PEER_VARIABLE = "STARCODER_LLAMA_PYTHON"
"""Environment variable with the path of a Python that has llama-cpp-python and gguf."""

ShapeOption = Annotated[
    str | None, typer.Option(help=f"Use random weights of this shape: {', '.join(SHAPES)}.")
]
ModelOption = Annotated[str, typer.Option(help="`demo`, a directory or a Hub id.")]
RoundsOption = Annotated[
    int, typer.Option(min=1, help="Rounds; each contender runs once per round.")
]
PeerOption = Annotated[
    Path | None,
    typer.Option(
        "--llama", envvar=PEER_VARIABLE, help="Path of a Python that has llama-cpp-python."
    ),
]
JsonOption = Annotated[Path | None, typer.Option("--json", help="Write every run to this file.")]


@dataclass(frozen=True, slots=True)
class Timing:
    """Times of one run, in milliseconds."""

    first: float
    """Milliseconds from the request to the first token: prefill and the choice of one token."""
    each: float
    """Mean milliseconds per token after the first."""


Contender = Callable[[tuple[int, ...], int], Timing]
"""A contender generates `n` tokens after a prompt; its arguments are the prompt and `n`."""


def random_checkpoint(shape: str, folder: Path) -> Path:
    """Write a checkpoint of this shape with random bfloat16 weights, and return its folder."""
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
    # Make the weights on the GPU, in bfloat16: 15.5 billion weights take minutes on a CPU.
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
        torch.cuda.empty_cache()  # memory that torch caches would count as used
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((EMBEDDED_DIR / name).read_bytes())
    return folder


def folder_of(model: str) -> Path:
    """Return the folder of a model: `demo`, a directory, or a Hub id that is on disk."""
    from engine.loading.locate import locate

    return locate(EngineSettings(model=model), lambda *_: None)[1]


def load_ours(model: str, dtype: str) -> LoadedModel:
    """Load a model, and wait until the engine has finished its background preparation."""
    settings = EngineSettings(model=model, dtype=dtype)  # type: ignore[arg-type]
    loaded = load(settings, lambda *_: None).model
    finish_preparing(loaded.forward)
    return loaded


def ours(model: LoadedModel, *, use_graphs: bool = True) -> Contender:
    """Return our forward pass as a greedy contender. It reuses nothing and drafts nothing.

    On a GPU and without `use_graphs`, operations are launched one by one and caches grow.
    """

    def run(prompt: tuple[int, ...], count: int) -> Timing:
        started = time.perf_counter()
        ticks = [time.perf_counter() for _ in tokens(model, prompt, count, use_graphs=use_graphs)]
        return timing(started, ticks)

    return run


@torch.inference_mode()
def tokens(
    model: LoadedModel, prompt: tuple[int, ...], count: int, *, use_graphs: bool = True
) -> Iterator[int]:
    """Generate `count` tokens after a prompt, each when the caller asks for it."""
    forward = model.forward
    if not use_graphs:
        assert isinstance(forward, LeanForward)
        forward = LeanForward(forward.weights)
    cache = new_cache(model) if use_graphs else KVCache(model.cache_shape)
    step = prompt
    for _ in range(count):
        for start in range(0, len(step), _PREFILL_CHUNK):
            chunk = step[start : start + _PREFILL_CHUNK]
            logits = forward([BatchEntry(chunk, cache)])[0]
            cache.commit(chunk)
        step = (int(logits[-1].argmax()),)
        yield step[0]
    if model.arena is not None and cache.slot is not None:
        model.arena.give_back(cache.slot)


def timing(started: float, ticks: list[float]) -> Timing:
    """Return the timing of a run from its start and the moments of its tokens, in seconds."""
    rest = (ticks[-1] - ticks[0]) / max(1, len(ticks) - 1)
    return Timing((ticks[0] - started) * 1000, rest * 1000)


def by_turns(
    contenders: Mapping[str, Contender], prompt: tuple[int, ...], new: int, rounds: int
) -> dict[str, list[Timing]]:
    """Run each contender once per round, so that other load affects all of them alike.

    A first round warms up and does not count.
    """
    runs: dict[str, list[Timing]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, contender in contenders.items():
            run = contender(prompt, new)
            if number:
                runs[name].append(run)
            time.sleep(_PAUSE_S)  # the threads of this contender go to sleep
    return runs


def machine() -> dict[str, Any]:
    """Return the hardware and the version of torch that the figures depend on."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {
        "cpu": name,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "torch": torch.__version__,
    }
