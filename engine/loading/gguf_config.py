"""Makes a model's config.json, in transformers' form, from the metadata of a GGUF file.

The keys of the metadata are those that llama.cpp's convert_hf_to_gguf.py writes. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from engine.errors import UnsupportedModelError
from engine.loading.gguf_container import StoredTensor
from engine.loading.gguf_metadata import MODEL_TYPES, Metadata
from engine.loading.gguf_rope import rope_scaling

_STARCODER2_POSITIONS = 16_384
_STARCODER2_WINDOW = 4096


def make_config(
    metadata: Metadata, tensors: Mapping[str, StoredTensor], rope_factors: list[float] | None
) -> dict[str, Any]:
    """Return what config.json says about the same model.

    `rope_factors` are the values of the tensor rope_freqs.weight, None if the file has none.
    Raises UnsupportedModelError if a key is missing or damaged, or the model needs something that
    is not supported.
    """
    arch = metadata.architecture
    if metadata.integer(f"{arch}.expert_count", 0, smallest=0):
        raise UnsupportedModelError(
            f"{metadata.source} is a mixture of experts, which is not supported. Choose a dense "
            "model."
        )
    table = tensors.get("token_embd.weight")
    if table is None or len(table.shape) != 2:
        raise UnsupportedModelError(
            f"{metadata.source} contains no model: it has no token embeddings. Choose the file "
            "that contains the model's weights."
        )
    config: dict[str, Any] = {
        "model_type": MODEL_TYPES[arch],
        "vocab_size": table.shape[0],
        "tie_word_embeddings": "output.weight" not in tensors,
    }
    for name in ("bos", "eos"):
        key = f"tokenizer.ggml.{name}_token_id"
        config[f"{name}_token_id"] = (
            metadata.integer(key, smallest=0) if metadata.has(key) else None
        )
    if arch == "starcoder":
        return config | _gpt_bigcode(metadata)
    return config | _common(metadata, rope_factors) | _special(metadata, tensors)


def _gpt_bigcode(metadata: Metadata) -> dict[str, Any]:
    width, heads = _heads(metadata)
    if metadata.integer("starcoder.attention.head_count_kv", 1) != 1:
        # transformers interleaves the rows of such a model's q, k and v, llama.cpp does not.
        raise UnsupportedModelError(
            f"{metadata.source} is a StarCoder without multi-query attention, which GGUF files "
            "cannot represent. Use the model's safetensors."
        )
    return {
        "n_embd": width,
        "n_head": heads,
        "n_layer": metadata.integer("starcoder.block_count"),
        "n_inner": metadata.integer("starcoder.feed_forward_length"),
        "n_positions": metadata.integer("starcoder.context_length"),
        "layer_norm_epsilon": metadata.number("starcoder.attention.layer_norm_epsilon"),
        "activation_function": "gelu_pytorch_tanh",
        "multi_query": True,
        "scale_attn_weights": True,
    }


def _heads(metadata: Metadata) -> tuple[int, int]:
    arch = metadata.architecture
    width = metadata.integer(f"{arch}.embedding_length")
    heads = metadata.integer(f"{arch}.attention.head_count")
    if width % heads and not metadata.has(f"{arch}.attention.key_length"):
        metadata.damaged(f"{arch}.attention.head_count")
    return width, heads


def _common(metadata: Metadata, rope_factors: list[float] | None) -> dict[str, Any]:
    """Return what all models with rotary embeddings have."""
    arch = metadata.architecture
    width, heads = _heads(metadata)
    kv_heads = metadata.integer(f"{arch}.attention.head_count_kv", heads)
    head_dim = metadata.integer(f"{arch}.attention.key_length", width // heads)
    if heads % kv_heads:
        metadata.damaged(f"{arch}.attention.head_count_kv")
    if head_dim % 2:
        metadata.damaged(f"{arch}.attention.key_length")
    for key in ("rope.dimension_count", "attention.value_length"):
        if metadata.integer(f"{arch}.{key}", head_dim) != head_dim:
            raise UnsupportedModelError(
                f"{metadata.source} has a {key} that differs from the width of its heads, which is "
                "not supported in GGUF files. Use the model's safetensors."
            )
    config: dict[str, Any] = {
        "hidden_size": width,
        "intermediate_size": metadata.integer(f"{arch}.feed_forward_length"),
        "num_hidden_layers": metadata.integer(f"{arch}.block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "max_position_embeddings": metadata.integer(f"{arch}.context_length"),
        "rope_theta": metadata.number(f"{arch}.rope.freq_base", 10_000.0),
    }
    config["rope_scaling"] = rope_scaling(metadata, config, rope_factors)
    return config


def _special(metadata: Metadata, tensors: Collection[str]) -> dict[str, Any]:
    """Return what differs between the architectures with rotary embeddings."""
    arch = metadata.architecture
    window = metadata.integer(f"{arch}.attention.sliding_window", 0, smallest=0) or None
    if arch == "starcoder2":
        positions = metadata.integer("starcoder2.context_length")
        if window is None and positions == _STARCODER2_POSITIONS:
            # Every published StarCoder2 has this window; llama.cpp does not store it.
            window = _STARCODER2_WINDOW
        return {
            "norm_epsilon": metadata.number("starcoder2.attention.layer_norm_epsilon"),
            "hidden_act": "gelu_pytorch_tanh",
            "use_bias": "blk.0.attn_q.bias" in tensors,
            "sliding_window": window,
        }
    config: dict[str, Any] = {
        "rms_norm_eps": metadata.number(f"{arch}.attention.layer_norm_rms_epsilon"),
        "hidden_act": "silu",
        "attention_bias": "blk.0.attn_q.bias" in tensors,
        "mlp_bias": "blk.0.ffn_gate.bias" in tensors,
    }
    if arch == "granite":
        config |= _granite(metadata)
    elif window is not None and arch == "llama":
        # llama.cpp stores Mistral as `llama`; only Mistral has a window.
        config |= {"model_type": "mistral", "sliding_window": window}
    elif arch in ("qwen2", "qwen3"):
        config |= {"use_sliding_window": window is not None, "sliding_window": window}
    return config


def _granite(metadata: Metadata) -> dict[str, float]:
    """Return Granite's multipliers, which llama.cpp names scales."""
    names = {
        "attention_multiplier": "granite.attention.scale",
        "embedding_multiplier": "granite.embedding_scale",
        "residual_multiplier": "granite.residual_scale",
        "logits_scaling": "granite.logit_scale",
    }
    return {name: metadata.number(key, 1.0) for name, key in names.items()}
