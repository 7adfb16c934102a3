"""The memory that a model takes, computed from its architecture."""

from __future__ import annotations

from engine.architecture import Architecture
from engine.network.batch import DECODE_ROWS
from engine.network.quantised import GPU_CHUNK_BYTES

USUAL_WINDOW = 8192
"""Context window of StarCoder, in tokens, which the prompts of completions rarely fill."""
HEADROOM = 1.2
"""Factor on weights and KV cache that must fit into memory. The rest is for activations and other
programs."""


def cache_bytes(architecture: Architecture, positions: int, bytes_per_value: int) -> int:
    """Return the size of the KV cache of one sequence of `positions` tokens, in bytes."""
    row = 2 * architecture.num_layers * architecture.kv_width * bytes_per_value
    return positions * row


BYTES_PER_WEIGHT = {
    "float32": 4.0,
    "bfloat16": 2.0,
    "float16": 2.0,
    "int8": 1.01,
    "int4": 0.625,
}
"""Bytes per weight by number format, including the scales of quantised weights."""

_PREFILL_ROWS = 512
"""Number of rows of the largest prefill chunk."""
_WEIGHTS_MARGIN = 1.05
"""Factor on the size of the weights."""
_4_BIT_MARGIN = 1.12
"""The same for 4 bits. Files of 4 bits have some matrices in more bits, which then get 8: a sixth
of the weights in llama.cpp's Q4_K_M."""


def bytes_needed(architecture: Architecture, dtype: str, window: int) -> int:
    """Return the bytes that a model takes: weights, one full KV cache, and a prefill chunk.

    On a GPU `bytes_for_steps` is added to it.
    """
    weights = weight_bytes(architecture, dtype)
    if architecture.rotary is not None:
        weights += 4 * window * architecture.head_dim
    inner = architecture.inner * (3 if architecture.is_gated else 1)
    activations = inner + 6 * max(architecture.width, architecture.query_width)
    prefill = _PREFILL_ROWS * activations * 4
    cache = cache_bytes(architecture, window, _value_bytes(dtype))
    margin = _4_BIT_MARGIN if dtype == "int4" else _WEIGHTS_MARGIN
    return int(margin * weights + cache + prefill)


def weight_bytes(architecture: Architecture, dtype: str) -> float:
    """Return the size of all weights. In 4 bits, embeddings and the output matrix have 8."""
    size = architecture.num_parameters * BYTES_PER_WEIGHT[dtype]
    if dtype != "int4":
        return size
    tables = architecture.vocab_size * architecture.width * (1 if architecture.is_tied else 2)
    return size + tables * (BYTES_PER_WEIGHT["int8"] - BYTES_PER_WEIGHT["int4"])


def _value_bytes(dtype: str) -> int:
    return 4 if dtype == "float32" else 2


BYTES_PER_WEIGHT_BY_NAME = {**BYTES_PER_WEIGHT, "int4": 0.7}
"""The same for a model of which only the name is known. In 4 bits its tables, with 8, add to it."""
NAME_MARGIN = 1.3
"""Factor on the size of the weights of a model of which only the name is known.

It is for the KV cache of a usual window, a prefill chunk, and parameters that the name rounds off.
`tests/engine/loading/test_reserve.py` compares the sizes with those of known models.
"""

GPU_LIBRARIES = 900_000_000
"""Bytes for the CUDA context, code and workspaces of CUDA's libraries, and CUDA graphs.

On an H100 with torch 2.11 they took 0.82 GB, and all graphs of a model less than 0.1 GB.
"""


def bytes_for_steps(architecture: Architecture, dtype: str, window: int) -> int:
    """Return the additional bytes on a GPU: the largest recorded step, and libraries.

    A recorded step needs per column: row indexes and the mask; gathered keys and values of each
    row; and attention scores as products, with the mask added, normalized, and rounded. In addition
    it needs logits. Quantised weights are expanded in parts for a prefill.
    """
    value_bytes, heads = _value_bytes(dtype), architecture.heads
    column = 4 * 8 * architecture.kv_heads + 2 * value_bytes * architecture.kv_width
    column += heads * (2 * value_bytes + 2 * 4)
    logits = architecture.vocab_size * (value_bytes + 2 * 4)
    inner = architecture.inner * (2 if architecture.is_gated else 1)
    largest_matrix = value_bytes * architecture.width * inner
    expanded = min(GPU_CHUNK_BYTES, largest_matrix) if dtype in ("int8", "int4") else 0
    return DECODE_ROWS * (window * column + logits) + expanded + GPU_LIBRARIES
