"""The C structures of the kernels, which point into tensors."""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import POINTER, Array, Structure, c_float, c_int32, c_void_p
from dataclasses import dataclass

import torch
from torch import Tensor

FLOAT, BF16, BF16_DOT, INT8, INT4 = range(5)
"""Number formats of weights and KV caches: `Kind` in products.h.

BF16_DOT is bfloat16, too. Where the processor multiplies pairs of bfloat16 numbers, activations are
rounded to that type as well.
"""

GELU, SILU = range(2)
"""Activation functions: `Activation` in step.cpp."""

LANES = 16
"""Rows of a block of weights. Widths must be multiples of it."""

_NO_WINDOW = 1 << 30
"""`NO_WINDOW` in attention.h: a window that no sequence reaches."""


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


class Heads(Structure):
    """The C structure `Heads` of chunks.h."""

    _fields_ = (("heads", c_int32), ("kv_heads", c_int32), ("dim", c_int32))


class _Norm(Structure):
    """The C structure `Norm` of step.cpp."""

    _fields_ = (("weight", c_void_p), ("bias", c_void_p))


class _Layer(Structure):
    """The C structure `Layer` of step.cpp."""

    _fields_ = (
        ("norm_1", _Norm),
        ("norm_2", _Norm),
        ("query_norm", c_void_p),
        ("key_norm", c_void_p),
        ("attention_in", Matrix),
        ("attention_out", Matrix),
        ("mlp_in", Matrix),
        ("mlp_out", Matrix),
        ("window", c_int32),
    )


class _Model(Structure):
    """The C structure `Model` of step.cpp."""

    _fields_ = (
        ("width", c_int32),
        ("inner", c_int32),
        ("layer_count", c_int32),
        ("heads", Heads),
        ("activation", c_int32),
        ("is_gated", c_int32),
        ("cache", c_int32),
        ("epsilon", c_float),
        ("attention_scale", c_float),
        ("embedding_scale", c_float),
        ("residual_scale", c_float),
        ("logit_scale", c_float),
        ("layers", POINTER(_Layer)),
        ("last_norm", _Norm),
        ("tokens", Matrix),
        ("head", Matrix),
        ("positions", c_void_p),
        ("rotations", c_void_p),
    )


class Row(Structure):
    """The C structure `StepRow` of chunks.h."""

    _fields_ = (
        ("keys", c_void_p),
        ("values", c_void_p),
        ("position", c_int32),
        ("cache_rows", c_int32),
    )


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


NormParts = tuple[Tensor, Tensor | None]
"""Weight and bias of a norm; an RMSNorm has no bias."""


@dataclass(frozen=True, slots=True)
class LayerParts:
    """The weights of one layer."""

    norm_1: NormParts
    norm_2: NormParts
    query_norm: Tensor | None
    key_norm: Tensor | None
    attention_in: NativeMatrix
    attention_out: NativeMatrix
    mlp_in: NativeMatrix
    mlp_out: NativeMatrix
    window: int | None


@dataclass(frozen=True, slots=True)
class ModelParts:
    """The weights and constants of a network, as the kernels need them."""

    heads: int
    kv_heads: int
    head_dim: int
    inner: int
    activation: int
    is_gated: bool
    cache_dtype: torch.dtype
    epsilon: float
    attention_scale: float
    embedding_scale: float
    residual_scale: float
    logit_scale: float
    layers: Sequence[LayerParts]
    last_norm: NormParts
    tokens: NativeMatrix
    head: NativeMatrix
    positions: Tensor | None
    """Position embeddings (positions, width), of `cache_dtype`; or None."""
    rotations: Tensor | None
    """Rotations (positions, head_dim) in float32; or None."""


@dataclass(frozen=True, slots=True)
class CachePointers:
    """Addresses of a KV cache's buffers: keys of each layer, then values of each layer."""

    addresses: Array[c_void_p]
    rows: int
    """Number of rows of a key/value head in each buffer."""


def cache_pointers(keys: Sequence[Tensor], values: Sequence[Tensor]) -> CachePointers:
    """Return the addresses of a cache's buffers, each (kv_heads, rows, head_dim) of one layer."""
    buffers = (*keys, *values)
    addresses = (c_void_p * len(buffers))(*(buffer.data_ptr() for buffer in buffers))
    return CachePointers(addresses, rows_per_head(keys[0]))


def rows_per_head(keys: Tensor) -> int:
    """Return the distance of key/value heads in a buffer (kv_heads, rows, head_dim), in rows."""
    return keys.stride(0) // keys.stride(1)


def kind_of(dtype: torch.dtype) -> int:
    """Return the kernels' number for a type; raises KeyError for an unsupported type."""
    return {torch.float32: FLOAT, torch.bfloat16: BF16}[dtype]


def window_number(window: int | None) -> int:
    """Return a window as the kernels take it; None stands for all positions."""
    return _NO_WINDOW if window is None else window


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


def model_structure(parts: ModelParts) -> NativeModel:
    """Return the structure of a network."""
    keeper = _Keeper()
    layers = (_Layer * len(parts.layers))(*(keeper.layer(layer) for layer in parts.layers))
    model = _Model(
        width=parts.layers[0].attention_in.num_columns,
        inner=parts.inner,
        layer_count=len(layers),
        heads=Heads(parts.heads, parts.kv_heads, parts.head_dim),
        activation=parts.activation,
        is_gated=parts.is_gated,
        cache=kind_of(parts.cache_dtype),
        epsilon=parts.epsilon,
        attention_scale=parts.attention_scale,
        embedding_scale=parts.embedding_scale,
        residual_scale=parts.residual_scale,
        logit_scale=parts.logit_scale,
        layers=layers,  # the structure keeps the array alive
        last_norm=keeper.norm(parts.last_norm),
        tokens=keeper.matrix(parts.tokens),
        head=keeper.matrix(parts.head),
        positions=keeper.address(parts.positions),
        rotations=keeper.address(parts.rotations),
    )
    return NativeModel(model, tuple(keeper.tensors), len(layers), parts.head.num_rows)


class _Keeper:
    """Makes structures and keeps the tensors that they point into."""

    def __init__(self) -> None:
        self.tensors: list[Tensor] = []

    def address(self, tensor: Tensor | None) -> int | None:
        """Return the address of a contiguous tensor, None for None."""
        if tensor is None:
            return None
        self.tensors.append(tensor)
        return tensor.data_ptr()

    def floats(self, tensor: Tensor | None) -> int | None:
        """Return the address of a tensor's values in float32, None for None."""
        return self.address(None if tensor is None else tensor.float().contiguous())

    def norm(self, parts: NormParts) -> _Norm:
        return _Norm(*(self.floats(tensor) for tensor in parts))

    def matrix(self, native_matrix: NativeMatrix) -> Matrix:
        self.tensors.extend(native_matrix.tensors)
        return native_matrix.struct

    def layer(self, parts: LayerParts) -> _Layer:
        return _Layer(
            norm_1=self.norm(parts.norm_1),
            norm_2=self.norm(parts.norm_2),
            query_norm=self.floats(parts.query_norm),
            key_norm=self.floats(parts.key_norm),
            attention_in=self.matrix(parts.attention_in),
            attention_out=self.matrix(parts.attention_out),
            mlp_in=self.matrix(parts.mlp_in),
            mlp_out=self.matrix(parts.mlp_out),
            window=window_number(parts.window),
        )
