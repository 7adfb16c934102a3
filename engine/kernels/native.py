"""The compiled kernels as Python calls."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import c_float, c_int32, c_void_p
from pathlib import Path

import torch
from torch import Tensor

from engine.kernels.structures import (
    INT8,
    LANES,
    CachePointers,
    Heads,
    NativeMatrix,
    NativeModel,
    Row,
    kind_of,
    rows_per_head,
    window_number,
)


class Native:
    """The functions of the compiled library."""

    def __init__(self, library: Path) -> None:
        loaded = ctypes.CDLL(str(library))
        self._step, self._product = loaded.starcoder_step, loaded.starcoder_product
        self._expand, self._attend = loaded.starcoder_expand, loaded.starcoder_attend
        self._many_rows = loaded.starcoder_many_rows
        for function in (self._step, self._product, self._expand, self._attend):
            function.restype = None

    def is_fast_for_many_rows(self, kind: int) -> bool:
        """Whether the kernels are faster than torch for many rows and weights of this kind."""
        return bool(self._many_rows(kind))

    def step(
        self,
        model: NativeModel,
        ids: Tensor,
        rows: Sequence[tuple[CachePointers, int]],
        logits_rows: Sequence[int],
    ) -> Tensor:
        """Compute one step and fill the caches.

        `ids` is (n,) of int64. `rows` has for each id the `cache_pointers` of its cache and its
        position there. Returns the float32 logits of `logits_rows`: (len(logits_rows), vocab).
        """
        structs = (Row * len(rows))()
        for struct, (pointers, position) in zip(structs, rows, strict=True):
            struct.keys = ctypes.addressof(pointers.addresses)
            struct.values = struct.keys + model.num_layers * ctypes.sizeof(c_void_p)
            struct.position = position
            struct.cache_rows = pointers.rows
        logits = torch.empty(len(logits_rows), model.vocab_size)
        self._step(
            ctypes.byref(model.struct),
            c_void_p(ids.data_ptr()),
            structs,
            len(rows),
            (c_int32 * len(logits_rows))(*logits_rows),
            len(logits_rows),
            c_void_p(logits.data_ptr()),
            torch.get_num_threads(),
        )
        return logits

    def product(self, weights: NativeMatrix, x: Tensor) -> Tensor:
        """Return Wx + b for `x` (n, in): (n, out), of the type of `x`."""
        wide_x = x.float().contiguous()
        y = torch.empty(x.shape[0], weights.num_rows)
        self._product(
            ctypes.byref(weights.struct),
            c_void_p(wide_x.data_ptr()),
            x.shape[0],
            c_void_p(y.data_ptr()),
            torch.get_num_threads(),
        )
        return y.to(x.dtype)

    def can_attend(self, keys: Tensor) -> bool:
        """Whether `attend` supports these keys (kv_heads, rows, dim) and is faster than torch."""
        dim = keys.shape[2]
        supported = keys.dtype in (torch.float32, torch.bfloat16) and dim % LANES == 0
        supported = supported and keys.stride()[1:] == (dim, 1)
        return supported and self.is_fast_for_many_rows(INT8)

    def attend(
        self, query: Tensor, keys: Tensor, values: Tensor, scale: float, window: int | None
    ) -> Tensor:
        """Return the attention output of the last n rows of a sequence, (n, heads * dim).

        `query` is (n, heads * dim). `keys` and `values` are (kv_heads, rows, dim), with contiguous
        rows. A query sees `window` positions up to its own, None for all.
        """
        wide_query, (kv_heads, rows, dim) = query.float().contiguous(), keys.shape
        output = torch.empty_like(wide_query)
        self._attend(
            kind_of(keys.dtype),
            c_void_p(wide_query.data_ptr()),
            c_void_p(keys.data_ptr()),
            c_void_p(values.data_ptr()),
            rows - query.shape[0],
            query.shape[0],
            rows_per_head(keys),
            ctypes.byref(Heads(query.shape[1] // dim, kv_heads, dim)),
            window_number(window),
            c_float(scale),
            c_void_p(output.data_ptr()),
            torch.get_num_threads(),
        )
        return output.to(query.dtype)

    def expand(self, weights: NativeMatrix, first: int, count: int) -> Tensor:
        """Return `count` rows of quantised weights from row `first`: (count, in) in bfloat16."""
        rows = torch.empty(count, weights.num_columns, dtype=torch.bfloat16)
        self._expand(
            ctypes.byref(weights.struct),
            first,
            count,
            c_void_p(rows.data_ptr()),
            torch.get_num_threads(),
        )
        return rows
