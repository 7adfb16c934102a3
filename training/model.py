"""The demo model: StarCoder's architecture at a size that trains on a CPU."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import GPTBigCodeConfig, GPTBigCodeForCausalLM


@dataclass(frozen=True, slots=True)
class Shape:
    """The size of a model. Heads are 64 wide, the inner layer four times the width."""

    width: int = 320
    layers: int = 6
    positions: int = 1024
    vocab_size: int = 8192


def build(shape: Shape) -> GPTBigCodeForCausalLM:
    """Return a new model: multi-query attention, learned positions, tied embeddings."""
    return GPTBigCodeForCausalLM(
        GPTBigCodeConfig(
            vocab_size=shape.vocab_size,
            n_positions=shape.positions,
            n_embd=shape.width,
            n_layer=shape.layers,
            n_head=max(1, shape.width // 64),
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
