"""The tensors of a GGUF file under their names in transformers. Imports no torch.

The names in the file are those of llama.cpp's gguf-py/gguf/tensor_mapping.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from engine.errors import UnsupportedModelError
from engine.loading.gguf_container import StoredTensor

ROPE_FACTORS = "rope_freqs.weight"
"""Name of the tensor that has the divisors of Llama 3's rotary frequencies."""
_PERMUTED = ("llama", "mistral", "granite")
"""Model types whose q and k llama.cpp permutes (LlamaModel in convert_hf_to_gguf.py)."""
_NORM = "_norm"
_IGNORED_PARTS = ("attn_rot_embd",)

_ATTENTION = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
_LLAMA_PARTS = _ATTENTION | {
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
}
_QK_NORMS = ("attn_q_norm", "attn_k_norm")
_STARCODER2_PARTS = _ATTENTION | {"ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj"}
_GPT_BIGCODE_PARTS = {
    "attn_norm": "ln_1",
    "attn_qkv": "attn.c_attn",
    "attn_output": "attn.c_proj",
    "ffn_norm": "ln_2",
    "ffn_up": "mlp.c_fc",
    "ffn_down": "mlp.c_proj",
}


@dataclass(frozen=True, slots=True)
class NamedTensor:
    """A tensor of the file and what must be done to get transformers' tensor."""

    stored: StoredTensor
    heads: int | None = None
    """Number of heads whose rows llama.cpp has permuted; None for any other tensor."""


def named_tensors(
    config: Mapping[str, Any], tensors: Mapping[str, StoredTensor], source: str
) -> dict[str, NamedTensor]:
    """Return the tensors by their names in transformers' state dict.

    Raises UnsupportedModelError if a tensor of the model is missing, has another shape than the
    config implies, or is unknown. Biases are optional, but each layer must have the same.
    """
    model = _gpt_bigcode(config) if config["model_type"] == "gpt_bigcode" else _rotary(config)
    layers = int(config.get("n_layer", config.get("num_hidden_layers")))
    remaining = dict(tensors)
    remaining.pop(ROPE_FACTORS, None)
    named = {}
    for name, place in _places(model, layers, tensors):
        stored = remaining.pop(name, None)
        if stored is None or stored.shape != place.shape:
            problem = "is missing" if stored is None else f"has the shape {stored.shape}"
            raise UnsupportedModelError(
                f"{source} is damaged: the tensor {name} {problem}, expected {place.shape}. "
                "Download it again, or choose another file of the model."
            )
        if len(stored.shape) == 1 and stored.kind.block > 1:
            raise UnsupportedModelError(f"{source} is damaged: the vector {name} is quantised.")
        named[place.name] = NamedTensor(stored, place.heads)
    unknown = [name for name in remaining if not any(part in name for part in _IGNORED_PARTS)]
    if unknown:
        raise UnsupportedModelError(
            f"{source} has the tensor {unknown[0][:60]!r}, which a model of the type "
            f"{config['model_type']} does not have. Choose another file of the model."
        )
    return named


@dataclass(frozen=True, slots=True)
class _Place:
    name: str
    """Name in transformers."""
    shape: tuple[int, ...]
    heads: int | None = None


@dataclass(frozen=True, slots=True)
class _Model:
    top: dict[str, _Place]
    """The tensors outside the layers, by their names in the file."""
    layer: dict[str, _Place]
    """The tensors of one layer; its number is `{}` in the names in transformers."""


def _places(
    model: _Model, layers: int, tensors: Mapping[str, StoredTensor]
) -> Iterator[tuple[str, _Place]]:
    """Yield each tensor that the model must have, by its name in the file."""
    optional = {"output.weight"}
    for name, place in model.top.items():
        if name not in optional or name in tensors:
            yield name, place
    in_layer = {
        part: place
        for part, place in model.layer.items()
        if part.endswith((".weight", f"{_NORM}.bias")) or f"blk.0.{part}" in tensors
    }
    for index in range(layers):
        for part, place in in_layer.items():
            name = place.name.format(index)
            yield f"blk.{index}.{part}", _Place(name, place.shape, place.heads)


def _with_biases(modules: dict[str, _Place], *, layer_norm: bool) -> dict[str, _Place]:
    """Return the weights and biases of modules; an RMS norm (not `layer_norm`) has no bias."""
    places = {}
    for part, place in modules.items():
        places[f"{part}.weight"] = _Place(f"{place.name}.weight", place.shape, place.heads)
        if layer_norm or not part.endswith(_NORM):
            places[f"{part}.bias"] = _Place(f"{place.name}.bias", place.shape[:1], place.heads)
    return places


def _gpt_bigcode(config: Mapping[str, Any]) -> _Model:
    width, inner, vocab = config["n_embd"], config["n_inner"], config["vocab_size"]
    shapes: dict[str, tuple[int, ...]] = {
        "attn_norm": (width,),
        "attn_qkv": (width + 2 * (width // config["n_head"]), width),
        "attn_output": (width, width),
        "ffn_norm": (width,),
        "ffn_up": (inner, width),
        "ffn_down": (width, inner),
    }
    top = {
        "token_embd.weight": _Place("transformer.wte.weight", (vocab, width)),
        "position_embd.weight": _Place("transformer.wpe.weight", (config["n_positions"], width)),
        "output_norm.weight": _Place("transformer.ln_f.weight", (width,)),
        "output_norm.bias": _Place("transformer.ln_f.bias", (width,)),
        "output.weight": _Place("lm_head.weight", (vocab, width)),
    }
    layer = {
        part: _Place(f"transformer.h.{{}}.{name}", shapes[part])
        for part, name in _GPT_BIGCODE_PARTS.items()
    }
    return _Model(top, _with_biases(layer, layer_norm=True))


def _rotary(config: Mapping[str, Any]) -> _Model:
    """Return the tensors of a model with rotary embeddings."""
    width, inner, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    head_dim, kind = config["head_dim"], config["model_type"]
    shapes: dict[str, tuple[int, ...]] = {
        "attn_q": (heads * head_dim, width),
        "attn_k": (kv_heads * head_dim, width),
        "attn_v": (kv_heads * head_dim, width),
        "attn_output": (width, heads * head_dim),
        "attn_q_norm": (head_dim,),
        "attn_k_norm": (head_dim,),
        "attn_norm": (width,),
        "ffn_norm": (width,),
        "ffn_gate": (inner, width),
        "ffn_up": (inner, width),
        "ffn_down": (width, inner),
    }
    permuted = {"attn_q": heads, "attn_k": kv_heads} if kind in _PERMUTED else {}
    parts = dict(_STARCODER2_PARTS if kind == "starcoder2" else _LLAMA_PARTS)
    if kind != "qwen3":
        parts = {part: name for part, name in parts.items() if part not in _QK_NORMS}
    top = {
        "token_embd.weight": _Place("model.embed_tokens.weight", (vocab, width)),
        "output_norm.weight": _Place("model.norm.weight", (width,)),
        "output.weight": _Place("lm_head.weight", (vocab, width)),
    }
    if kind == "starcoder2":
        top["output_norm.bias"] = _Place("model.norm.bias", (width,))
    layer = {
        part: _Place(f"model.layers.{{}}.{name}", shapes[part], permuted.get(part))
        for part, name in parts.items()
    }
    return _Model(top, _with_biases(layer, layer_norm=kind == "starcoder2"))
