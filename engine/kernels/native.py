"""The compiled kernels as Python calls: C structures over tensors that the caller keeps alive."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, Structure, c_float, c_int32, c_void_p
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

FLOAT, BRAIN, BRAINS, INT8, INT4 = range(5)
"""How numbers are kept: `Kind` in products.h. With BRAINS activations may be bfloat16, too."""

LANES = 16
"""Rows of a block, and what widths must be multiples of."""


class Matrix(Structure):
    """`Matrix` in products.h."""

    _fields_ = (
        ("kind", c_int32),
        ("rows", c_int32),
        ("columns", c_int32),
        ("weight", c_void_p),
        ("scale", c_void_p),
        ("bias", c_void_p),
    )


class _Norm(Structure):
    _fields_ = (("weight", c_void_p), ("bias", c_void_p))


class _Layer(Structure):
    _fields_ = (
        ("norm_1", _Norm),
        ("norm_2", _Norm),
        ("attention_in", Matrix),
        ("attention_out", Matrix),
        ("inner_in", Matrix),
        ("inner_out", Matrix),
    )


class _Model(Structure):
    _fields_ = (
        ("width", c_int32),
        ("heads", c_int32),
        ("head_dim", c_int32),
        ("inner", c_int32),
        ("layer_count", c_int32),
        ("cache", c_int32),
        ("epsilon", c_float),
        ("scale", c_float),
        ("layers", POINTER(_Layer)),
        ("last_norm", _Norm),
        ("tokens", Matrix),
        ("head", Matrix),
        ("positions", c_void_p),
    )


class _Place(Structure):
    _fields_ = (("keys", c_void_p), ("values", c_void_p), ("position", c_int32))


@dataclass(frozen=True, slots=True)
class Held:
    """A C structure, with the tensors that it points into."""

    struct: Any
    tensors: list[Any] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class LayerParts:
    """One block: norms as (weight, bias) in float32, products as matrices."""

    norm_1: tuple[Tensor, Tensor]
    norm_2: tuple[Tensor, Tensor]
    attention_in: Held
    attention_out: Held
    inner_in: Held
    inner_out: Held


@dataclass(frozen=True, slots=True)
class ModelParts:
    """A network as the kernels see it."""

    heads: int
    scale: float
    epsilon: float
    cache_dtype: torch.dtype
    layers: Sequence[LayerParts]
    last_norm: tuple[Tensor, Tensor]
    tokens: Held
    head: Held
    positions: Tensor
    """(positions, width) of the cache's type."""


def matrix(
    kind: int, shape: tuple[int, int], weight: Tensor, scale: Tensor | None, bias: Tensor | None
) -> Held:
    """Return a matrix; its bias is widened to float32 and a multiple of 16."""
    wide = None
    if bias is not None:
        wide = torch.zeros(-(-shape[0] // LANES) * LANES)
        wide[: shape[0]] = bias
    pointers = [tensor.data_ptr() if tensor is not None else None for tensor in (scale, wide)]
    return Held(Matrix(kind, *shape, weight.data_ptr(), *pointers), [weight, scale, wide])


def pointers(keys: Sequence[Tensor], values: Sequence[Tensor]) -> Any:
    """Return the addresses of a cache's buffers, each (1, rows, head_dim) of one layer."""
    return (c_void_p * (2 * len(keys)))(*(one.data_ptr() for one in (*keys, *values)))


class Native:
    """The library's functions."""

    def __init__(self, library: Path) -> None:
        loaded = ctypes.CDLL(str(library))
        self._step, self._product = loaded.starcoder_step, loaded.starcoder_product
        self._expand = loaded.starcoder_expand
        self._many_rows = loaded.starcoder_many_rows
        self._attend = loaded.starcoder_attend
        self._attend.restype = None
        self._step.restype = self._product.restype = self._expand.restype = None

    def fast_at_many_rows(self, kind: int) -> bool:
        """Whether this processor's instructions make weights of a kind faster than torch there."""
        return bool(self._many_rows(kind))

    def model(self, parts: ModelParts) -> Held:
        """Return a network for `step`."""
        kept: list[Any] = []

        def norm(pair: tuple[Tensor, Tensor]) -> _Norm:
            wide = [tensor.float().contiguous() for tensor in pair]
            kept.extend(wide)
            return _Norm(*(tensor.data_ptr() for tensor in wide))

        def struct(held: Held) -> Matrix:
            kept.append(held)
            found: Matrix = held.struct
            return found

        layers = (_Layer * len(parts.layers))(
            *(
                _Layer(
                    norm(one.norm_1),
                    norm(one.norm_2),
                    struct(one.attention_in),
                    struct(one.attention_out),
                    struct(one.inner_in),
                    struct(one.inner_out),
                )
                for one in parts.layers
            )
        )
        first = layers[0]
        width = int(first.attention_in.columns)
        made = _Model(
            width,
            parts.heads,
            width // parts.heads,
            int(first.inner_in.rows),
            len(layers),
            kind_of(parts.cache_dtype),
            parts.epsilon,
            parts.scale,
            layers,
            norm(parts.last_norm),
            struct(parts.tokens),
            struct(parts.head),
            parts.positions.data_ptr(),
        )
        return Held(made, [kept, layers, parts.positions])

    def step(
        self, model: Held, ids: Tensor, places: Sequence[tuple[Any, int]], wanted: Sequence[int]
    ) -> Tensor:
        """Compute one step: return float32 logits (wanted, vocab) and fill the caches.

        `ids` is (n,) of int64. `places` are the `pointers` of each row's cache, and its position in
        it.
        """
        layers = 8 * model.struct.layer_count
        rows = (_Place * len(places))()
        for row, (held, position) in zip(rows, places, strict=True):
            row.keys = ctypes.addressof(held)
            row.values, row.position = row.keys + layers, position
        logits = torch.empty(len(wanted), model.struct.head.rows)
        self._step(
            ctypes.byref(model.struct),
            c_void_p(ids.data_ptr()),
            rows,
            len(places),
            (c_int32 * len(wanted))(*wanted),
            len(wanted),
            c_void_p(logits.data_ptr()),
            torch.get_num_threads(),
        )
        return logits

    def product(self, held: Held, x: Tensor) -> Tensor:
        """Return Wx + b for `x` (n, in): (n, out), of x's type."""
        wide = x.float().contiguous()
        made = torch.empty(x.shape[0], held.struct.rows)
        self._product(
            ctypes.byref(held.struct),
            c_void_p(wide.data_ptr()),
            x.shape[0],
            c_void_p(made.data_ptr()),
            torch.get_num_threads(),
        )
        return made.to(x.dtype)

    def attends(self, keys: Tensor) -> bool:
        """Whether `attend` is made for such keys, and faster than torch."""
        known = self.fast_at_many_rows(INT8) and keys.dtype in (torch.float32, torch.bfloat16)
        return known and keys.shape[1] % LANES == 0 and keys.is_contiguous()

    def attend(
        self, query: Tensor, keys: Tensor, values: Tensor, heads: int, scale: float
    ) -> Tensor:
        """Return what the last n rows of a sequence see, for `query` (n, heads * dim).

        `keys` and `values` are (rows, dim), each without gaps.
        """
        wide, (rows, dim) = query.float().contiguous(), keys.shape
        made = torch.empty_like(wide)
        self._attend(
            kind_of(keys.dtype),
            c_void_p(wide.data_ptr()),
            c_void_p(keys.data_ptr()),
            c_void_p(values.data_ptr()),
            rows - query.shape[0],
            query.shape[0],
            heads,
            dim,
            c_float(scale),
            c_void_p(made.data_ptr()),
            torch.get_num_threads(),
        )
        return made.to(query.dtype)

    def expand(self, held: Held, first: int, count: int) -> Tensor:
        """Return rows of quantised weights, (count, in) in bfloat16."""
        made = torch.empty(count, held.struct.columns, dtype=torch.bfloat16)
        self._expand(
            ctypes.byref(held.struct),
            first,
            count,
            c_void_p(made.data_ptr()),
            torch.get_num_threads(),
        )
        return made


def kind_of(dtype: torch.dtype) -> int:
    """Return how the kernels name a type; raises KeyError for one that they have not."""
    return {torch.float32: FLOAT, torch.bfloat16: BRAIN}[dtype]
