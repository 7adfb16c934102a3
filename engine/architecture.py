"""What a dense decoder computes, as data. Imports no torch.

One network (`engine.network`) computes all models that an `Architecture` describes.
`engine.model_config` reads it from a model's config.json.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Part = Literal["query", "key", "value", "output", "mlp"]
"""A matrix of a block that may have a bias."""
ALL_PARTS: frozenset[Part] = frozenset(("query", "key", "value", "output", "mlp"))


@dataclass(frozen=True, slots=True)
class Llama3Scaling:
    """Llama 3.1's change of rotary frequencies, as in transformers' `modeling_rope_utils`."""

    factor: float
    low_frequency_factor: float
    high_frequency_factor: float
    original_positions: float


@dataclass(frozen=True, slots=True)
class Rotary:
    """Rotary position embeddings (Su et al. 2021, arXiv:2104.09864)."""

    theta: float
    """Base of the frequencies."""
    linear_factor: float = 1.0
    """Factor by which positions are divided (Chen et al. 2023, arXiv:2306.15595)."""
    llama3: Llama3Scaling | None = None


@dataclass(frozen=True, slots=True)
class TensorNames:
    """Names of a model's tensors in its checkpoint, without `.weight` and `.bias`."""

    tokens: str
    positions: str
    layers: str
    """Prefix of the names in a layer, before its number."""
    norm_1: str
    norm_2: str
    attention_in: tuple[str, ...]
    """One fused matrix, or those of queries, keys and values."""
    attention_out: str
    mlp_in: tuple[str, ...]
    """The first matrix of the MLP, or its gate and its first matrix."""
    mlp_out: str
    last_norm: str
    head: str = "lm_head"
    query_norm: str = "self_attn.q_norm"
    key_norm: str = "self_attn.k_norm"

    @property
    def modules(self) -> tuple[str, ...]:
        """Names of the linear modules of a layer, as transformers and peft call them."""
        matrices = (*self.attention_in, self.attention_out, *self.mlp_in, self.mlp_out)
        return tuple(dict.fromkeys(name.rpartition(".")[2] for name in matrices))

    @property
    def embedding_module(self) -> str:
        """Name of the module of the embedding matrix."""
        return self.tokens.rpartition(".")[2]


@dataclass(frozen=True, slots=True)
class Architecture:
    """Sizes and operations of a dense decoder."""

    names: TensorNames
    vocab_size: int
    width: int
    """Width of a hidden state."""
    inner: int
    """Width of the MLP's activations."""
    num_layers: int
    heads: int
    kv_heads: int
    """Number of key/value heads; each serves the same number of query heads."""
    head_dim: int
    positions: int
    """Number of positions that the model was trained for."""
    epsilon: float
    """Epsilon of the norms."""
    activation: str
    """Name of the activation function in config.json."""
    is_gated: bool
    """Whether the MLP multiplies the activations by a second product, as in SwiGLU."""
    is_tied: bool
    """Whether the output matrix is the embedding matrix."""
    attention_scale: float
    """Factor of the attention scores."""
    biases: frozenset[Part]
    """Matrices that have a bias."""
    rotary: Rotary | None = None
    """Rotary positions; None for a model with a table of position embeddings."""
    has_rms_norms: bool = False
    """Whether norms are RMSNorm without a bias; otherwise they are LayerNorm."""
    has_head_norms: bool = False
    """Whether queries and keys are normalized by RMSNorm, head by head."""
    has_rows_by_head: bool = False
    """Whether the fused matrix has queries, keys and values of each head together."""
    windows: tuple[int | None, ...] = ()
    """For each layer the number of positions that a query sees, itself included; None for all."""
    embedding_scale: float = 1.0
    residual_scale: float = 1.0
    logit_scale: float = 1.0

    @property
    def query_width(self) -> int:
        """Width of the queries of one token, in values."""
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Width of the keys of one token, and of its values."""
        return self.kv_heads * self.head_dim

    def num_adapter_parameters(self, rank: int) -> int:
        """Return the number of parameters of a LoRA adapter of all linear modules of the layers."""
        inputs = (len(self.names.attention_in) + len(self.names.mlp_in)) * self.width
        inputs += self.query_width + self.inner
        outputs = self.query_width + 2 * self.kv_width + 2 * self.width
        outputs += len(self.names.mlp_in) * self.inner
        return self.num_layers * rank * (inputs + outputs)

    @property
    def num_parameters(self) -> int:
        """Number of parameters of the network."""
        matrices = (
            ("query", self.query_width, self.width),
            ("key", self.kv_width, self.width),
            ("value", self.kv_width, self.width),
            ("output", self.width, self.query_width),
            *[("mlp", self.inner, self.width)] * (1 + self.is_gated),
            ("mlp", self.width, self.inner),
        )
        layer = sum(rows * columns for _, rows, columns in matrices)
        layer += sum(rows for part, rows, _ in matrices if part in self.biases)
        norm = self.width if self.has_rms_norms else 2 * self.width
        layer += 2 * norm + (2 * self.head_dim if self.has_head_norms else 0)
        embeddings = self.vocab_size * self.width * (1 if self.is_tied else 2)
        if self.rotary is None:
            embeddings += self.positions * self.width
        return embeddings + self.num_layers * layer + norm
