"""The memory that a GPTBigCode model takes, computed from its `config.json`."""

from __future__ import annotations

from typing import Any

from engine.network.batch import DECODE_ROWS
from engine.network.quantised import GPU_CHUNK_BYTES

HEADROOM = 1.2
"""Factor on weights and KV cache that must fit into memory. The rest is for activations and other
programs."""


def parameter_count(config: dict[str, Any]) -> int:
    """Return the number of parameters, with tied embeddings."""
    width, layers = int(config["n_embd"]), int(config["n_layer"])
    inner = int(config.get("n_inner") or 4 * width)
    kv_width = _kv_width(config)
    attention = width * (width + 2 * kv_width) + (width + 2 * kv_width) + width * width + width
    mlp = 2 * width * inner + inner + width
    embeddings = (int(config["vocab_size"]) + int(config["n_positions"])) * width
    return embeddings + layers * (attention + mlp + 4 * width) + 2 * width


def cache_bytes(config: dict[str, Any], positions: int, bytes_per_value: int) -> int:
    """Return the size of the KV cache of one sequence of `positions` tokens, in bytes."""
    return 2 * int(config["n_layer"]) * _kv_width(config) * positions * bytes_per_value


def _kv_width(config: dict[str, Any]) -> int:
    """Return the width of all keys of one token in one layer, in values."""
    width = int(config["n_embd"])
    return width // int(config["n_head"]) if config.get("multi_query", True) else width


BYTES_PER_WEIGHT = {
    "float32": 4.0,
    "bfloat16": 2.0,
    "float16": 2.0,
    "int8": 1.01,
    "int4": 0.5625,
}
"""Bytes per weight by number format, including the scales of quantised weights."""

_PREFILL_ROWS = 512
"""Number of rows of the largest prefill chunk."""
_WEIGHTS_MARGIN = 1.05
"""Factor on the size of the weights."""


def bytes_needed(config: dict[str, Any], dtype: str, window: int) -> int:
    """Return the bytes that a model takes: weights, one full KV cache, and a prefill chunk.

    On a GPU `bytes_for_steps` is added to it.
    """
    weights = parameter_count(config) * BYTES_PER_WEIGHT[dtype]
    value_bytes = 4 if dtype == "float32" else 2
    inner = int(config.get("n_inner") or 4 * int(config["n_embd"]))
    prefill = _PREFILL_ROWS * (inner + 6 * int(config["n_embd"])) * 4
    return int(_WEIGHTS_MARGIN * weights + cache_bytes(config, window, value_bytes) + prefill)


GPU_LIBRARIES = 900_000_000
"""Bytes for the CUDA context, code and workspaces of CUDA's libraries, and CUDA graphs.

On an H100 with torch 2.11 they took 0.82 GB, and all graphs of a model less than 0.1 GB.
"""


def bytes_for_steps(config: dict[str, Any], dtype: str, window: int) -> int:
    """Return the additional bytes on a GPU: the largest recorded step, and libraries.

    A recorded step needs per column: row indexes and the mask; gathered keys and values of each
    row; and attention scores as products, with the mask added, normalized, and rounded. In addition
    it needs logits. Quantised weights are expanded in parts for a prefill.
    """
    value_bytes = 4 if dtype == "float32" else 2
    width, heads = int(config["n_embd"]), int(config["n_head"])
    column = 4 * 8 + 2 * value_bytes * width // heads + heads * (2 * value_bytes + 2 * 4)
    logits = int(config["vocab_size"]) * (value_bytes + 2 * 4)
    largest_matrix = value_bytes * width * int(config.get("n_inner") or 4 * width)
    expanded = min(GPU_CHUNK_BYTES, largest_matrix) if dtype in ("int8", "int4") else 0
    return DECODE_ROWS * (window * column + logits) + expanded + GPU_LIBRARIES
