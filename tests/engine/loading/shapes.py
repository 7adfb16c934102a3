"""Shapes of models whose memory is planned."""

from typing import Any

from engine.model_config import require_architecture

ONE_B_CONFIG = {
    "model_type": "gpt_bigcode",
    "n_embd": 2048,
    "n_layer": 24,
    "n_head": 16,
    "n_positions": 8192,
    "vocab_size": 49152,
    "multi_query": True,
}
"""The config.json of bigcode/starcoderbase-1b."""
ONE_B = require_architecture(ONE_B_CONFIG)

STARCODER_CONFIG = ONE_B_CONFIG | {"n_embd": 6144, "n_layer": 40, "n_head": 48}
"""The config.json of bigcode/starcoder, with 15.5 billion parameters."""


def qwen2_config(width: int, inner: int, layers: int, heads: int, kv_heads: int) -> dict[str, Any]:
    """Return the config.json of a large Qwen2.5-Coder."""
    return {
        "model_type": "qwen2",
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": 152064,
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
    }
