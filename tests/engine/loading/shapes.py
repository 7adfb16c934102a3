"""Shapes of models whose memory is planned."""

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
