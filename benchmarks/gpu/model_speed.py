"""Decode, prefill, prefix reuse, typists and memory of one shape, in each number format.

All contenders of a shape share one process and the same random weights. Every figure is written as
soon as it is known.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer

from benchmarks.common import ours, tokens
from benchmarks.gpu.ceilings import Ceilings, measure_ceilings, synchronize
from benchmarks.gpu.device_model import DEVICE, DeviceModel, device_model, random_module
from benchmarks.gpu.graph_profile import profile_steps
from benchmarks.gpu.results import record
from benchmarks.gpu.scheduled import measure_reuse, measure_typists
from benchmarks.stepped_scheduler import finish_preparing, new_cache
from engine.loading.model_size import bytes_for_steps, bytes_needed
from engine.model_config import require_architecture
from engine.network.batch import BatchEntry
from engine.network.lean_forward import LeanForward
from engine.network.model import LoadedModel

import torch  # isort: skip
from transformers import GPTBigCodeForCausalLM  # isort: skip
from transformers.generation.streamers import BaseStreamer  # isort: skip

_DTYPES = ("bfloat16", "int8", "int4")
_LENGTHS = (300, 1500, 8000)
"""Prompt lengths for which prefill is measured, in tokens."""
_PROMPT, _NEW = 512, 65
_NUM_RECORDED = 4
"""Number of graphs that are recorded before decoding is measured: those that its steps use."""


class _Ticks(BaseStreamer):  # type: ignore[misc]
    """The moments at which `generate` emits a token."""

    def __init__(self) -> None:
        self.ticks: list[float] = []

    def put(self, value: torch.Tensor) -> None:
        """Record one token, or the prompt."""
        value.flatten().tolist()
        self.ticks.append(time.perf_counter())

    def end(self) -> None:
        """Do nothing at the end of the output."""


def random_prompt(vocab_size: int, length: int, seed: int = 0) -> tuple[int, ...]:
    """Return random token ids above the special tokens."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(30, vocab_size, (length,), generator=generator).tolist())


def measure_generate(module: GPTBigCodeForCausalLM, new: int) -> None:
    """Measure a greedy `generate` of transformers on the same weights."""
    prompt = random_prompt(module.config.vocab_size, _PROMPT)
    each = []
    for _ in range(3):
        streamer = _Ticks()
        module.generate(
            torch.tensor([prompt], device=DEVICE),
            max_new_tokens=new,
            min_new_tokens=new,
            do_sample=False,
            pad_token_id=0,
            streamer=streamer,
        )
        each += [b - a for a, b in zip(streamer.ticks[2:], streamer.ticks[3:], strict=False)]
    record("generate", dtype="bfloat16", ms=round(statistics.median(each) * 1000, 3))


def record_graphs(model: LoadedModel) -> None:
    """Record the graphs of the steps that decoding takes, as an idle engine does."""
    assert isinstance(model.forward, LeanForward)
    for _ in tokens(model, random_prompt(model.vocab_size, _PROMPT), 8):
        pass
    started = time.perf_counter()
    for _ in range(_NUM_RECORDED):
        with torch.inference_mode():
            model.forward.prepare()
    synchronize()
    assert model.forward.graphs is not None
    record(
        "recording",
        graphs=len(model.forward.graphs.recorded),
        unrecorded=model.forward.graphs.num_unrecorded,
        s=round(time.perf_counter() - started, 2),
    )


def measure_decode(name: str, device: DeviceModel, ceilings: Ceilings, new: int) -> None:
    """Measure milliseconds per token, with the graphs and without them."""
    model = device.model
    bound_ms = device.weight_bytes / ceilings.bytes_per_s * 1000
    prompt = random_prompt(model.vocab_size, _PROMPT)
    for use_graphs in (True, False):
        contender = ours(model, use_graphs=use_graphs)
        contender(prompt, 4)
        count = new if use_graphs else min(new, 12)
        each = statistics.median(contender(prompt, count).each for _ in range(3))
        record(
            "decode",
            dtype=name,
            graphs=use_graphs,
            ms=round(each, 3),
            bound_ms=round(bound_ms, 3),
            ratio=round(each / bound_ms, 3),
            weight_gb=round(device.weight_bytes / 1e9, 3),
        )


def measure_prefill(
    name: str,
    model: LoadedModel,
    ceilings: Ceilings,
    operations: float,
    lengths: Sequence[int],
) -> None:
    """Measure the milliseconds from a prompt to its first token, nothing cached."""
    for length in lengths:
        if length + 1 > model.context_window:
            continue
        prompt = random_prompt(model.vocab_size, length)
        contender = ours(model)
        contender(prompt, 1)
        first = statistics.median(contender(prompt, 1).first for _ in range(5))
        bound_ms = operations * length / ceilings.operations_per_s * 1000
        record(
            "prefill",
            dtype=name,
            tokens=length,
            ms=round(first, 3),
            bound_ms=round(bound_ms, 3),
            ratio=round(first / bound_ms, 2),
        )


def check_logits(name: str, module: GPTBigCodeForCausalLM, model: LoadedModel) -> None:
    """Compare our logits after a prefill and a decoding step with those of transformers."""
    prompt = random_prompt(model.vocab_size, 200)
    cache = new_cache(model)
    with torch.inference_mode():
        expected = module(torch.tensor([prompt], device=DEVICE)).logits[0].float()
        model.forward([BatchEntry(prompt[:180], cache, 0)])
        cache.commit(prompt[:180])
        few = model.forward([BatchEntry(prompt[180:199], cache, 19)])[0]
        cache.commit(prompt[180:199])
        last = model.forward([BatchEntry(prompt[199:], cache, 1)])[0]
        actual = torch.cat([few, last]).float()
        error = (actual - expected[180:]).norm() / expected[180:].norm()
    if model.arena is not None and cache.slot is not None:
        model.arena.give_back(cache.slot)
    record("logits", dtype=name, relative_error=round(float(error), 5))


def record_memory(name: str, module: GPTBigCodeForCausalLM) -> None:
    """Record the estimate of memory, and what the process reserved at most."""
    if DEVICE == "cuda":
        architecture = require_architecture(module.config.to_dict())
        window = architecture.positions
        estimate = bytes_needed(architecture, name, window)
        estimate += bytes_for_steps(architecture, name, window)
        free, total = torch.cuda.mem_get_info()
        record(
            "memory",
            dtype=name,
            estimate_gb=round(estimate / 1e9, 2),
            reserved_gb=round(torch.cuda.memory_reserved() / 1e9, 2),
            peak_allocated_gb=round(torch.cuda.max_memory_allocated() / 1e9, 2),
            used_on_card_gb=round((total - free) / 1e9, 2),
        )


def measure_format(
    name: str,
    module: GPTBigCodeForCausalLM,
    ceilings: Ceilings,
    new: int,
    lengths: Sequence[int],
) -> None:
    """Measure one number format."""
    started = time.perf_counter()
    device = device_model(module, name)
    synchronize()
    record("loaded", dtype=name, s=round(time.perf_counter() - started, 2))
    check_logits(name, module, device.model)
    record_graphs(device.model)
    measure_decode(name, device, ceilings, new)
    width, layers = module.config.n_embd, module.config.n_layer
    dim = width // module.config.n_head
    operations = 2 * layers * (10 * width * width + 2 * width * dim)
    measure_prefill(name, device.model, ceilings, operations, lengths)
    profile_steps(name, device.model)
    measure_reuse(name, device.model)
    record_memory(name, module)


def measure_users(name: str, module: GPTBigCodeForCausalLM) -> None:
    """Measure several users, after all graphs are recorded, as in an engine that was idle."""
    model = device_model(module, name).model
    started = time.perf_counter()
    finish_preparing(model.forward)
    synchronize()
    record("recording", graphs="all", s=round(time.perf_counter() - started, 2))
    measure_typists(name, model)
    record_memory(name, module)


def free_memory() -> None:
    """Give the memory of deleted models back to the device."""
    gc.collect()
    if DEVICE == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def main(
    shape: Annotated[str, typer.Argument(help="A shape of `benchmarks.gpu.device_model`.")],
    dtype: Annotated[
        list[str] | None, typer.Option(help="Only these number formats; may be repeated.")
    ] = None,
    brief: Annotated[
        bool, typer.Option("--brief", help="Without `generate`, long prompts and several users.")
    ] = False,
    rehearse: Annotated[bool, typer.Option("--rehearse", help="Fewer repetitions.")] = False,
) -> None:
    """Measure one shape."""
    new = 9 if rehearse else _NEW
    gpu = torch.cuda.get_device_name() if DEVICE == "cuda" else "none"
    record("shape", shape=shape, gpu=gpu, torch=torch.__version__)
    ceilings = measure_ceilings()
    record("ceilings", **asdict(ceilings))
    started = time.perf_counter()
    module = random_module(shape)
    synchronize()
    record("weights", s=round(time.perf_counter() - started, 2))
    if not brief:
        with torch.inference_mode():
            measure_generate(module, 9 if rehearse else 24)
    for name in dtype or _DTYPES:
        measure_format(name, module, ceilings, new, _LENGTHS[: 2 if brief else None])
        free_memory()
    if not brief:
        measure_users("bfloat16", module)


if __name__ == "__main__":
    typer.run(main)
