"""The values of the tensors of a GGUF file.

torch, numpy and the `gguf` package are imported only when values are read.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from math import prod
from typing import TYPE_CHECKING

from engine.loading.gguf_kinds import Kind
from engine.loading.gguf_names import NamedTensor

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

_CHUNK = 1 << 18
"""Weights that one thread expands at a time: few enough to stay in a processor's cache."""
_MAX_THREADS = 8


def read_tensor(tensor: NamedTensor) -> torch.Tensor:
    """Return the values of a tensor in new memory.

    float16 and bfloat16 stay what they are; everything else becomes float32. Quantised weights are
    expanded by the `gguf` package, in chunks that several threads share, so only the result is in
    memory as a whole.
    """
    import torch

    stored, rows = tensor.stored, stored_rows(tensor)
    plain = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
    if stored.kind.name in plain:
        values = torch.empty(stored.shape, dtype=plain[stored.kind.name])
        values.view(-1).view(torch.uint8).numpy()[:] = rows.reshape(-1)
        return values
    values = torch.empty(stored.shape, dtype=torch.float32)
    _expand(rows, values.view(-1).numpy(), stored.kind)
    return values


def stored_rows(tensor: NamedTensor) -> NDArray[np.uint8]:
    """Return the bytes of a tensor (rows, bytes of a row), in the order of transformers' rows."""
    import numpy as np

    stored = tensor.stored
    rows = np.frombuffer(
        stored.buffer, dtype=np.uint8, count=stored.num_bytes, offset=stored.offset
    ).reshape(prod(stored.shape[:-1]), -1)
    if tensor.heads is None:
        return rows
    return _unpermute(rows.reshape(stored.shape[0], -1), tensor.heads).reshape(rows.shape)


def _unpermute(rows: NDArray[np.uint8], heads: int) -> NDArray[np.uint8]:
    """Undo llama.cpp's order of the rows of q and k, which are grouped by head.

    llama.cpp rotates neighbouring values of a head, transformers values half a head apart.
    """
    pairs = rows.reshape(heads, rows.shape[0] // heads // 2, 2, -1)
    return pairs.swapaxes(1, 2).reshape(rows.shape)


def _expand(rows: NDArray[np.uint8], values: NDArray[np.float32], kind: Kind) -> None:
    """Write the weights of quantised blocks to `values` (weights,).

    A chunk of blocks is one row for the `gguf` package, whose time per row is large.
    """
    import numpy as np
    from gguf.constants import GGMLQuantizationType
    from gguf.quants import dequantize

    type_ = GGMLQuantizationType[kind.name]
    blocks = rows.reshape(-1, kind.size)
    step = _CHUNK // kind.block

    def expand(start: int) -> None:
        chunk = blocks[start : start + step].reshape(1, -1)
        with np.errstate(all="ignore"):  # scales of damaged files can be infinite
            part = dequantize(chunk, type_).reshape(-1)
        values[start * kind.block :][: part.size] = part

    starts = range(0, len(blocks), step)
    with ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1, len(starts))) as threads:
        list(threads.map(expand, starts))
