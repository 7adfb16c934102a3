"""Writes small models of transformers as GGUF files, as llama.cpp's convert_hf_to_gguf.py does.

The names of the tensors come from the map in the `gguf` package, so they do not repeat ours.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Kind
from gguf import GGUFWriter
from gguf.quants import quantize
from torch import Tensor

from tests.checkpoint_maker import _tokenizer_json

ARCHITECTURES = {
    "llama": gguf.MODEL_ARCH.LLAMA,
    "mistral": gguf.MODEL_ARCH.LLAMA,
    "qwen2": gguf.MODEL_ARCH.QWEN2,
    "qwen3": gguf.MODEL_ARCH.QWEN3,
    "starcoder2": gguf.MODEL_ARCH.STARCODER2,
    "gpt_bigcode": gguf.MODEL_ARCH.STARCODER,
    "granite": gguf.MODEL_ARCH.GRANITE,
}
PERMUTED = {"llama", "mistral", "granite"}
SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "vocab_size": 400,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
Encode = Callable[[str, Tensor], tuple[np.ndarray, Kind]]
"""Returns the bytes of a tensor and its format, from its name in the file and its values."""


def as_kind(kind: Kind) -> Encode:
    """Matrices in one format, vectors in float32."""

    def encode(_: str, tensor: Tensor) -> tuple[np.ndarray, Kind]:
        used = kind if tensor.dim() > 1 else Kind.F32
        return quantize(tensor.float().numpy(), used), used

    return encode


def make_model(kind: str, **changes: Any) -> Any:
    """Return a small model with random weights, also in its norms and biases."""
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = {**SIZES, **changes}
    if kind == "gpt_bigcode":
        names = {"hidden_size": "n_embd", "num_hidden_layers": "n_layer"}
        names |= {"num_attention_heads": "n_head", "max_position_embeddings": "n_positions"}
        names |= {"intermediate_size": "n_inner"}
        sizes = {names.get(key, key): value for key, value in sizes.items()}
        del sizes["num_key_value_heads"]
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, initializer_range=0.2, **sizes)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


def permute(rows: Tensor, heads: int) -> Tensor:
    """LlamaModel.permute of convert_hf_to_gguf.py."""
    return (
        rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
        .swapaxes(1, 2)
        .reshape(rows.shape)
    )


def write_gguf(
    file: Path,
    model: Any,
    encode: Encode | None = None,
    tokenizer: Callable[[GGUFWriter], None] | None = None,
    extra: Mapping[str, Any] | None = None,
    parts: int = 1,
) -> Path:
    """Write a model and return the path of its first file."""
    config = model.config
    arch = ARCHITECTURES[config.model_type]
    split = math.ceil(len(model.state_dict()) / parts) if parts > 1 else 0
    writer = GGUFWriter(file, gguf.MODEL_ARCH_NAMES[arch], split_max_tensors=split)
    _write_metadata(writer, config)
    (tokenizer or write_starcoder_tokenizer)(writer)
    for key, value in (extra or {}).items():
        getattr(writer, f"add_{'uint32' if isinstance(value, int) else 'float32'}")(key, value)
    for name, tensor in stored_tensors(model).items():
        data, kind = (encode or as_kind(Kind.F32))(name, tensor)
        writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file if parts == 1 else file.with_name(f"{file.stem}-00001-of-{parts:05}.gguf")


def stored_tensors(model: Any) -> dict[str, Tensor]:
    """Return the tensors under their names in the file, in llama.cpp's order of rows."""
    config = model.config
    names = gguf.get_tensor_name_map(ARCHITECTURES[config.model_type], config.num_hidden_layers)
    tensors = {}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        stored = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert stored is not None, name
        if config.model_type in PERMUTED and "attn_q." in stored:
            tensor = permute(tensor, config.num_attention_heads)
        elif config.model_type in PERMUTED and "attn_k." in stored:
            tensor = permute(tensor, config.num_key_value_heads)
        tensors[stored] = tensor.contiguous()
    if factors := _llama3_factors(config):
        tensors["rope_freqs.weight"] = torch.tensor(factors)
    return tensors


def _write_metadata(writer: GGUFWriter, config: Any) -> None:
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    writer.add_file_type(0)
    if config.model_type == "gpt_bigcode":
        writer.add_feed_forward_length(config.n_inner)
        writer.add_head_count_kv(1)
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
        return
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count_kv(config.num_key_value_heads)
    if config.model_type == "starcoder2":
        writer.add_layer_norm_eps(config.norm_epsilon)
    else:
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if head_dim := getattr(config, "head_dim", None):
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    rope = config.rope_parameters
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    if config.model_type == "mistral" and config.sliding_window:
        writer.add_sliding_window(config.sliding_window)
    if config.model_type == "granite":
        writer.add_attention_scale(config.attention_multiplier)
        writer.add_embedding_scale(config.embedding_multiplier)
        writer.add_residual_scale(config.residual_multiplier)
        writer.add_logit_scale(config.logits_scaling)


def _llama3_factors(config: Any) -> list[float]:
    """`generate_extra_tensors` of LlamaModel in convert_hf_to_gguf.py."""
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") != "llama3":
        return []
    base, dim = rope["rope_theta"], config.head_dim
    context = rope["original_max_position_embeddings"]
    low_wavelen = context / rope["low_freq_factor"]
    high_wavelen = context / rope["high_freq_factor"]
    factors = []
    for frequency in 1.0 / (base ** (torch.arange(0, dim, 2, dtype=torch.float32) / dim)):
        wavelen = 2 * math.pi / frequency.item()
        if wavelen < high_wavelen:
            factors.append(1.0)
        elif wavelen > low_wavelen:
            factors.append(rope["factor"])
        else:
            smooth = (context / wavelen - rope["low_freq_factor"]) / (
                rope["high_freq_factor"] - rope["low_freq_factor"]
            )
            factors.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return factors


def write_starcoder_tokenizer(writer: GGUFWriter) -> None:
    """Write the small tokenizer of the other test checkpoints."""
    write_byte_level(writer, _tokenizer_json(), "starcoder")
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)


def write_byte_level(
    writer: GGUFWriter, tokenizer_json: str, pre: str | None, pad_to: int = 0
) -> None:
    """Write a byte-level tokenizer: added tokens are CONTROL or USER_DEFINED."""
    content = json.loads(tokenizer_json)
    vocab = dict(content["model"]["vocab"])
    types = dict.fromkeys(vocab, gguf.TokenType.NORMAL)
    for token in content["added_tokens"]:
        vocab[token["content"]] = token["id"]
        special = token["special"]
        types[token["content"]] = gguf.TokenType.CONTROL if special else gguf.TokenType.USER_DEFINED
    for id_ in range(len(vocab), pad_to):
        vocab[f"[PAD{id_}]"], types[f"[PAD{id_}]"] = id_, gguf.TokenType.UNUSED
    tokens = sorted(vocab, key=vocab.__getitem__)
    writer.add_tokenizer_model("gpt2")
    if pre is not None:
        writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([types[token] for token in tokens])
    writer.add_token_merges([" ".join(merge) for merge in content["model"]["merges"]])
