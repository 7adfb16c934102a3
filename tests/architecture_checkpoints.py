"""Makes small random checkpoints of each architecture, in transformers' exact layout."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    GPTBigCodeConfig,
    GraniteConfig,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    Qwen2Config,
    Qwen3Config,
    Starcoder2Config,
)

from tests.checkpoint_maker import write_tokenizer

WINDOW = 300
"""Number of positions of each checkpoint."""

_SIZES: dict[str, Any] = {
    "hidden_size": 96,
    "intermediate_size": 160,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": WINDOW,
}
_LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 5e5,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}

CONFIGS: dict[str, Callable[..., PretrainedConfig]] = {
    "llama": lambda **c: LlamaConfig(**_SIZES | c),
    "llama-every-head": lambda **c: LlamaConfig(**_SIZES | c | {"num_key_value_heads": 6}),
    "llama-biases": lambda **c: LlamaConfig(
        **_SIZES | c, attention_bias=True, mlp_bias=True, tie_word_embeddings=True
    ),
    "llama-linear": lambda **c: LlamaConfig(
        **_SIZES | c,
        rope_parameters={"rope_type": "linear", "rope_theta": 1e5, "factor": 4.0},
    ),
    "llama3": lambda **c: LlamaConfig(**_SIZES | c, rope_parameters=_LLAMA3),
    "mistral": lambda **c: MistralConfig(**_SIZES | c, sliding_window=40),
    "qwen2": lambda **c: Qwen2Config(
        **_SIZES | c,
        tie_word_embeddings=True,
        use_sliding_window=True,
        sliding_window=50,
        max_window_layers=1,
    ),
    "qwen3": lambda **c: Qwen3Config(**_SIZES | c, head_dim=32),
    "starcoder2": lambda **c: Starcoder2Config(**_SIZES | c, sliding_window=40),
    "granite": lambda **c: GraniteConfig(
        **_SIZES | c,
        embedding_multiplier=3.0,
        residual_multiplier=0.4,
        attention_multiplier=0.2,
        logits_scaling=2.0,
    ),
    "gpt-bigcode": lambda **c: GPTBigCodeConfig(
        n_embd=96, n_inner=160, n_layer=3, n_head=6, n_positions=WINDOW, **c
    ),
    "gpt-bigcode-every-head": lambda **c: GPTBigCodeConfig(
        n_embd=96, n_inner=160, n_layer=3, n_head=6, n_positions=WINDOW, multi_query=False, **c
    ),
}
"""Functions that return a config, by the name of the architecture or of a variant of it."""


def make_architecture(
    folder: Path, name: str, *, seed: int = 0, dtype: torch.dtype = torch.float32, **changes: Any
) -> Path:
    """Write a checkpoint of an architecture to `folder` and return it."""
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    config = CONFIGS[name](
        vocab_size=len(tokenizer["model"]["vocab"]),
        bos_token_id=0,
        eos_token_id=0,
        initializer_range=0.15,
        **changes,
    )
    model = AutoModelForCausalLM.from_config(config).to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            # Biases and norms start as constants, which would hide mistakes.
            if parameter.ndim == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(folder, max_shard_size="400KB")
    return folder
