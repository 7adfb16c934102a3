"""The compiled kernels as Python calls: C structures that point into tensors."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, Array, Structure, c_float, c_int32, c_void_p
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

FLOAT, BF16, BF16_DOT, INT8, INT4 = range(5)
"""Number formats of weights and KV caches: `Kind` in products.h.

BF16_DOT is bfloat16, too. Where the processor multiplies pairs of bfloat16 numbers, activations are
rounded to that type as well.
"""

LANES = 16
"""Rows of a block of weights. Widths must be multiples of it."""

CachePointers = Array[c_void_p]
"""Addresses of a KV cache's buffers: keys of each layer, then values of each layer."""


class Matrix(Structure):
    """The C structure `Matrix` of products.h."""

    _fields_ = (
        ("kind", c_int32),
        ("rows", c_int32),
        ("columns", c_int32),
        ("weight", c_void_p),
        ("scale", c_void_p),
        ("bias", c_void_p),
    )


class _Norm(Structure):
    """The C structure `Norm` of step.cpp."""

    _fields_ = (("weight", c_void_p), ("bias", c_void_p))


class _Layer(Structure):
    """The C structure `Layer` of step.cpp."""

    _fields_ = (
        ("norm_1", _Norm),
        ("norm_2", _Norm),
        ("attention_in", Matrix),
        ("attention_out", Matrix),
        ("inner_in", Matrix),
        ("inner_out", Matrix),
    )


class _Model(Structure):
    """The C structure `Model` of step.cpp."""

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


class _Row(Structure):
    """The C structure `StepRow` of chunks.h."""

    _fields_ = (("keys", c_void_p), ("values", c_void_p), ("position", c_int32))


@dataclass(frozen=True, slots=True)
class NativeMatrix:
    """A `Matrix`, with references that keep the tensors that it points into alive."""

    struct: Matrix
    tensors: tuple[Tensor, ...]

    @property
    def num_rows(self) -> int:
        """Number of outputs."""
        return int(self.struct.rows)

    @property
    def num_columns(self) -> int:
        """Number of inputs."""
        return int(self.struct.columns)


@dataclass(frozen=True, slots=True)
class NativeModel:
    """A `_Model`, with references that keep the tensors that it points into alive."""

    struct: _Model
    tensors: tuple[Tensor, ...]
    num_layers: int
    vocab_size: int


@dataclass(frozen=True, slots=True)
class LayerParts:
    """The weights of one layer: norms as (weight, bias), products as matrices."""

    norm_1: tuple[Tensor, Tensor]
    norm_2: tuple[Tensor, Tensor]
    attention_in: NativeMatrix
    attention_out: NativeMatrix
    inner_in: NativeMatrix
    inner_out: NativeMatrix


@dataclass(frozen=True, slots=True)
class ModelParts:
    """The weights and constants of a network, as the kernels need them."""

    heads: int
    scale: float
    epsilon: float
    cache_dtype: torch.dtype
    layers: Sequence[LayerParts]
    last_norm: tuple[Tensor, Tensor]
    tokens: NativeMatrix
    head: NativeMatrix
    positions: Tensor
    """Position embeddings (positions, width), of `cache_dtype`."""


def matrix(
    kind: int, shape: tuple[int, int], weight: Tensor, scale: Tensor | None, bias: Tensor | None
) -> NativeMatrix:
    """Return a matrix whose bias is float32, padded to a multiple of 16."""
    padded_bias = None
    if bias is not None:
        padded_bias = torch.zeros(-(-shape[0] // LANES) * LANES)
        padded_bias[: shape[0]] = bias
    optional = (scale, padded_bias)
    addresses = [None if tensor is None else tensor.data_ptr() for tensor in optional]
    tensors = (weight, *(tensor for tensor in optional if tensor is not None))
    return NativeMatrix(Matrix(kind, *shape, weight.data_ptr(), *addresses), tensors)


def cache_pointers(keys: Sequence[Tensor], values: Sequence[Tensor]) -> CachePointers:
    """Return the addresses of a cache's buffers, each (1, rows, head_dim) of one layer."""
    return (c_void_p * (2 * len(keys)))(*(buffer.data_ptr() for buffer in (*keys, *values)))


def kind_of(dtype: torch.dtype) -> int:
    """Return the kernels' number for a type; raises KeyError for an unsupported type."""
    return {torch.float32: FLOAT, torch.bfloat16: BF16}[dtype]


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

    def model(self, parts: ModelParts) -> NativeModel:
        """Return a network for `step`."""
        tensors = [parts.positions]

        def norm(weight_and_bias: tuple[Tensor, Tensor]) -> _Norm:
            widened = [tensor.float().contiguous() for tensor in weight_and_bias]
            tensors.extend(widened)
            return _Norm(*(tensor.data_ptr() for tensor in widened))

        def struct(native_matrix: NativeMatrix) -> Matrix:
            tensors.extend(native_matrix.tensors)
            return native_matrix.struct

        layers = (_Layer * len(parts.layers))(
            *(
                _Layer(
                    norm(layer.norm_1),
                    norm(layer.norm_2),
                    struct(layer.attention_in),
                    struct(layer.attention_out),
                    struct(layer.inner_in),
                    struct(layer.inner_out),
                )
                for layer in parts.layers
            )
        )
        width = parts.layers[0].attention_in.num_columns
        model = _Model(
            width,
            parts.heads,
            width // parts.heads,
            parts.layers[0].inner_in.num_rows,
            len(layers),
            kind_of(parts.cache_dtype),
            parts.epsilon,
            parts.scale,
            layers,  # the structure keeps the array alive
            norm(parts.last_norm),
            struct(parts.tokens),
            struct(parts.head),
            parts.positions.data_ptr(),
        )
        return NativeModel(model, tuple(tensors), len(layers), parts.head.num_rows)

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
        structs = (_Row * len(rows))()
        for struct, (pointers, position) in zip(structs, rows, strict=True):
            struct.keys = ctypes.addressof(pointers)
            struct.values = struct.keys + model.num_layers * ctypes.sizeof(c_void_p)
            struct.position = position
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
        """Whether `attend` supports these keys and is faster than torch."""
        supported = keys.dtype in (torch.float32, torch.bfloat16)
        supported = supported and keys.shape[1] % LANES == 0 and keys.is_contiguous()
        return supported and self.is_fast_for_many_rows(INT8)

    def attend(
        self, query: Tensor, keys: Tensor, values: Tensor, heads: int, scale: float
    ) -> Tensor:
        """Return the attention output of the last n rows of a sequence, (n, heads * dim).

        `query` is (n, heads * dim). `keys` and `values` are (rows, dim), each contiguous.
        """
        wide_query, (rows, dim) = query.float().contiguous(), keys.shape
        output = torch.empty_like(wide_query)
        self._attend(
            kind_of(keys.dtype),
            c_void_p(wide_query.data_ptr()),
            c_void_p(keys.data_ptr()),
            c_void_p(values.data_ptr()),
            rows - query.shape[0],
            query.shape[0],
            heads,
            dim,
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
