"""The demo model: StarCoder's architecture at a size that trains on a CPU."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
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


def start_from(model: GPTBigCodeForCausalLM, weights: Path) -> None:
    """Give a model the weights of another with the same tokenizer, but perhaps fewer added tokens.

    Embeddings of tokens that the other lacks are the mean of all. Raises ValueError where the
    shapes differ otherwise.
    """
    known = load_file(weights / "model.safetensors")
    table = model.transformer.wte.weight
    old = known.pop("transformer.wte.weight").float()
    if old.shape[1] != table.shape[1] or len(old) > len(table):
        raise ValueError(
            f"{weights} has embeddings of {tuple(old.shape)}, not {tuple(table.shape)}"
        )
    known.pop("lm_head.weight", None)
    with torch.no_grad():
        table[: len(old)] = old
        table[len(old) :] = old.mean(0)
    missing = set(model.load_state_dict(known, strict=False).missing_keys)
    if missing - {"transformer.wte.weight", "lm_head.weight"}:
        raise ValueError(f"{weights} is no model of this shape: it lacks {sorted(missing)}")
