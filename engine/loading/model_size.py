"""Free memory of this machine, and what a model takes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psutil

HEADROOM = 1.2
"""Weights and KV cache times this must fit: the rest is activations and the neighbours."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Free bytes, by kind of device."""

    cpu: int
    gpus: tuple[int, ...] = ()
    """Free bytes of each CUDA device, in order."""
    gpu_has_bfloat16: bool = False

    @property
    def largest_gpu(self) -> int:
        """Free bytes of the roomiest GPU; 0 without one."""
        return max(self.gpus, default=0)


def free_memory() -> Memory:
    """Measure now. Imports torch, to ask the GPUs."""
    import torch

    cpu = psutil.virtual_memory().available
    if not torch.cuda.is_available():
        return Memory(cpu)
    gpus = tuple(torch.cuda.mem_get_info(i)[0] for i in range(torch.cuda.device_count()))
    return Memory(cpu, gpus, torch.cuda.is_bf16_supported())


def parameter_count(config: dict[str, Any]) -> int:
    """Return the parameters that a GPTBigCode `config.json` implies, embeddings tied."""
    width, layers = int(config["n_embd"]), int(config["n_layer"])
    inner = int(config.get("n_inner") or 4 * width)
    kv = width // int(config["n_head"]) if config.get("multi_query", True) else width
    attention = width * (width + 2 * kv) + (width + 2 * kv) + width * width + width
    mlp = 2 * width * inner + inner + width
    embeddings = (int(config["vocab_size"]) + int(config["n_positions"])) * width
    return embeddings + layers * (attention + mlp + 4 * width) + 2 * width


def cache_bytes(config: dict[str, Any], positions: int, bytes_per_value: int) -> int:
    """Return the size of the KV cache of one sequence of `positions` tokens."""
    width = int(config["n_embd"])
    kv = width // int(config["n_head"]) if config.get("multi_query", True) else width
    return 2 * int(config["n_layer"]) * kv * positions * bytes_per_value


BYTES_A_WEIGHT = {
    "float32": 4.0,
    "bfloat16": 2.0,
    "float16": 2.0,
    "int8": 1.01,
    "int4": 0.5625,  # with their scales
}

_PREFILL_ROWS = 512
_SLACK = 1.05


def bytes_needed(config: dict[str, Any], dtype: str, window: int) -> int:
    """Return what a GPTBigCode takes: weights, one full KV cache, and a prefill step's rows.

    On a GPU `bytes_for_steps` comes on top.
    """
    weights = parameter_count(config) * BYTES_A_WEIGHT[dtype]
    wide = 4 if dtype == "float32" else 2
    inner = int(config.get("n_inner") or 4 * int(config["n_embd"]))
    rows = _PREFILL_ROWS * (inner + 6 * int(config["n_embd"])) * 4
    return int(_SLACK * weights + cache_bytes(config, window, wide) + rows)


_STEP_ROWS = 32
GPU_LIBRARIES = 600_000_000
"""Code and workspaces of CUDA's libraries, and recorded steps. Guessed, not measured yet."""


def bytes_for_steps(config: dict[str, Any], dtype: str, window: int) -> int:
    """Return what a GPTBigCode needs besides on a GPU: the largest recorded step, and libraries.

    A step's are where rows lie, and the mask; keys and values, gathered for each row; scores, as
    they are multiplied, added to the mask, made shares and rounded; logits.
    """
    wide = 4 if dtype == "float32" else 2
    width, heads = int(config["n_embd"]), int(config["n_head"])
    of_a_column = 4 * 8 + 2 * wide * width // heads + heads * (2 * wide + 2 * 4)
    logits = int(config["vocab_size"]) * (wide + 2 * 4)
    return _STEP_ROWS * (window * of_a_column + logits) + GPU_LIBRARIES


def human(size: float) -> str:
    """Return a size in bytes as a person would write it, such as `1.5 GB`."""
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit in ("B", "KB") else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
