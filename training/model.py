"""The demo model: StarCoder's architecture at a size that trains on a CPU."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import GPTBigCodeConfig, GPTBigCodeForCausalLM


@dataclass(frozen=True, slots=True)
class ModelShape:
    """Size of a model. Heads are 64 wide; the feed-forward layer has four times the width."""

    width: int = 320
    """Width of the hidden state."""
    layers: int = 6
    """Number of layers."""
    positions: int = 1024
    """Tokens of the context window."""
    vocab_size: int = 8192
    """Number of token ids."""


def build_model(shape: ModelShape) -> GPTBigCodeForCausalLM:
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


def load_initial_weights(model: GPTBigCodeForCausalLM, folder: Path) -> None:
    """Load the weights of another model with the same tokenizer; it may have fewer added tokens.

    Tokens that the other model lacks get the mean of its embeddings. Raises ValueError if the
    shapes differ in any other way.
    """
    weights = load_file(folder / "model.safetensors")
    table = model.transformer.wte.weight
    old = weights.pop("transformer.wte.weight").float()
    if old.shape[1] != table.shape[1] or len(old) > len(table):
        raise ValueError(f"{folder} has embeddings of {tuple(old.shape)}, not {tuple(table.shape)}")
    weights.pop("lm_head.weight", None)
    with torch.no_grad():
        table[: len(old)] = old
        table[len(old) :] = old.mean(0)
    missing = set(model.load_state_dict(weights, strict=False).missing_keys)
    if missing - {"transformer.wte.weight", "lm_head.weight"}:
        raise ValueError(f"{folder} has another shape: it lacks the weights {sorted(missing)}")
