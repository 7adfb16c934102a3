"""The demo model: StarCoder's architecture at a size that trains on a CPU."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import GPTBigCodeConfig, GPTBigCodeForCausalLM

HEAD_WIDTH = 64
"""Width of an attention head."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """Size of a model. Heads are 64 wide; the feed-forward layer has four times the width."""

    width: int = 512
    """Width of the hidden state."""
    layers: int = 8
    """Number of layers."""
    positions: int = 1024
    """Tokens of the context window."""
    vocab_size: int = 12292
    """Number of token ids."""


def build_model(shape: ModelShape) -> GPTBigCodeForCausalLM:
    """Return a new model: multi-query attention, learned positions, tied embeddings."""
    return GPTBigCodeForCausalLM(
        GPTBigCodeConfig(
            vocab_size=shape.vocab_size,
            n_positions=shape.positions,
            n_embd=shape.width,
            n_layer=shape.layers,
            n_head=max(1, shape.width // HEAD_WIDTH),
            n_inner=4 * shape.width,
            multi_query=True,
            attn_pdrop=0.0,
            embd_pdrop=0.0,
            resid_pdrop=0.0,
            bos_token_id=0,
            eos_token_id=0,
            tie_word_embeddings=True,
        )
    )


def flops_per_token(shape: ModelShape) -> float:
    """Return the floating-point operations of matrix products in training, per token.

    Forward and backward: six for each weight of a matrix, and causal attention, for which only
    half of the products are needed.
    """
    per_layer = shape.width * (10 * shape.width + 2 * HEAD_WIDTH)
    matrices = shape.layers * per_layer + shape.vocab_size * shape.width
    attention = shape.layers * shape.positions * shape.width
    return 6.0 * (matrices + attention)
