"""Reads what a model computes from its `config.json`. Imports no torch.

To add a model, add a `Family`: the names of its tensors, and what its config.json does not say.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from engine.architecture import (
    ALL_PARTS,
    Architecture,
    Llama3Scaling,
    Part,
    Rotary,
    TensorNames,
)

Config = Mapping[str, Any]
"""The contents of a `config.json`."""
_MAX_SIZE = (1 << 31) - 1
"""Largest size: the kernels have 32 bits for it."""
_MAX_LAYERS = 10_000


def read_architecture(config: Config) -> Architecture | None:
    """Return the architecture that a config.json describes, None for one that we do not compute.

    Raises KeyError, TypeError or ValueError for a damaged config.
    """
    reader = _READERS.get(str(config.get("model_type")))
    architecture = None if reader is None else reader(config)
    if architecture is not None:
        _check(architecture)
    return architecture


def require_architecture(config: Config) -> Architecture:
    """Return the architecture that a config.json describes; see `read_architecture`.

    Raises ValueError for one that we do not compute.
    """
    architecture = read_architecture(config)
    if architecture is None:
        raise ValueError(f"the architecture {config.get('model_type')} is not a fast one")
    return architecture


def _check(architecture: Architecture) -> None:
    sizes = {
        "vocabulary": architecture.vocab_size,
        "hidden size": architecture.width,
        "intermediate size": architecture.inner,
        "number of layers": architecture.num_layers,
        "number of heads": architecture.heads,
        "number of key/value heads": architecture.kv_heads,
        "head size": architecture.head_dim,
        "number of positions": architecture.positions,
    }
    wrong = [name for name, size in sizes.items() if not 1 <= size <= _MAX_SIZE]
    if wrong:
        raise ValueError(f"the {wrong[0]} is not a number from 1 to {_MAX_SIZE}")
    if any(window is not None and window < 1 for window in architecture.windows):
        raise ValueError("the sliding window is not a positive number")
    numbers = {
        "epsilon of the norms": architecture.epsilon,
        "scale of the attention": architecture.attention_scale,
        "scale of the embeddings": architecture.embedding_scale,
        "scale of the blocks": architecture.residual_scale,
        "scale of the logits": architecture.logit_scale,
    }
    wrong = [name for name, number in numbers.items() if not 0 <= number < math.inf]
    if wrong:
        raise ValueError(f"the {wrong[0]} is not a positive number")
    if architecture.heads % architecture.kv_heads:
        raise ValueError("the heads are not a multiple of the key/value heads")
    if architecture.rotary is not None:
        if architecture.head_dim % 2:
            raise ValueError("the head size is odd")
        _check_rotary(architecture.rotary)


def _check_rotary(rotary: Rotary) -> None:
    numbers = [rotary.theta, rotary.linear_factor]
    if (scaling := rotary.llama3) is not None:
        numbers += [scaling.factor, scaling.low_frequency_factor, scaling.original_positions]
        if not scaling.low_frequency_factor < scaling.high_frequency_factor < math.inf:
            raise ValueError("the frequency factors of the rotary positions are not in order")
    if not all(0 < number < math.inf for number in numbers):
        raise ValueError("a number of the rotary positions is not positive")


_BLOCK = {"norm_1": "input_layernorm", "norm_2": "post_attention_layernorm"}
_ATTENTION = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
_MODEL = {"tokens": "model.embed_tokens", "positions": "", "last_norm": "model.norm"}

_LLAMA = TensorNames(
    layers="model.layers.",
    attention_in=_ATTENTION,
    attention_out="self_attn.o_proj",
    mlp_in=("mlp.gate_proj", "mlp.up_proj"),
    mlp_out="mlp.down_proj",
    **_BLOCK,
    **_MODEL,
)
_STARCODER2 = TensorNames(
    layers="model.layers.",
    attention_in=_ATTENTION,
    attention_out="self_attn.o_proj",
    mlp_in=("mlp.c_fc",),
    mlp_out="mlp.c_proj",
    **_BLOCK,
    **_MODEL,
)
_GPT_BIGCODE = TensorNames(
    tokens="transformer.wte",
    positions="transformer.wpe",
    layers="transformer.h.",
    norm_1="ln_1",
    norm_2="ln_2",
    attention_in=("attn.c_attn",),
    attention_out="attn.c_proj",
    mlp_in=("mlp.c_fc",),
    mlp_out="mlp.c_proj",
    last_norm="transformer.ln_f",
)


def _gpt_bigcode(config: Config) -> Architecture | None:
    heads, width = int(config["n_head"]), int(config["n_embd"])
    is_multi_query = config.get("multi_query", True)
    return Architecture(
        names=_GPT_BIGCODE,
        vocab_size=int(config["vocab_size"]),
        width=width,
        inner=int(config.get("n_inner") or 4 * width),
        num_layers=_num_layers(config, "n_layer"),
        heads=heads,
        kv_heads=1 if is_multi_query else heads,
        head_dim=width // heads,
        positions=int(config["n_positions"]),
        epsilon=float(config.get("layer_norm_epsilon", 1e-5)),
        activation=str(config.get("activation_function", "gelu_pytorch_tanh")),
        is_gated=False,
        is_tied=bool(config.get("tie_word_embeddings", True)),
        attention_scale=(width // heads) ** -0.5 if config.get("scale_attn_weights", True) else 1.0,
        biases=ALL_PARTS,
        has_rows_by_head=not is_multi_query,
        windows=(None,) * _num_layers(config, "n_layer"),
    )


@dataclass(frozen=True, slots=True)
class Family:
    """Models whose config.json has the keys of Llama's; fields name what differs."""

    names: TensorNames = _LLAMA
    biases: Callable[[Config], frozenset[Part]] = lambda _: frozenset()
    epsilon: str = "rms_norm_eps"
    activation: str = "silu"
    """Activation function, if the config does not name one."""
    positions: int = 2048
    """Number of positions, if the config does not name it."""
    head_dim: int | None = None
    """Head size, if the config does not name it; None for the hidden size by the heads."""
    is_tied: bool = False
    """Whether embeddings are tied, if the config does not say it."""
    window: Callable[[Config], tuple[int | None, ...]] = lambda c: (None,) * _num_layers(c)
    has_rms_norms: bool = True
    has_head_norms: bool = False
    has_multipliers: bool = False
    """Whether the config has Granite's multipliers."""

    def __call__(self, config: Config) -> Architecture | None:
        """Return the architecture of a config, None if it asks for operations that we lack."""
        rotary = _rotary(config)
        if rotary is None:
            return None
        width, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
        head_dim = int(config.get("head_dim") or self.head_dim or width // heads)
        multiplier = config if self.has_multipliers else {}
        return Architecture(
            names=self.names,
            vocab_size=int(config["vocab_size"]),
            width=width,
            inner=int(config["intermediate_size"]),
            num_layers=_num_layers(config),
            heads=heads,
            kv_heads=int(config.get("num_key_value_heads") or heads),
            head_dim=head_dim,
            positions=int(config.get("max_position_embeddings", self.positions)),
            epsilon=float(config.get(self.epsilon, 1e-6 if self.has_rms_norms else 1e-5)),
            activation=str(config.get("hidden_act", self.activation)),
            is_gated=len(self.names.mlp_in) == 2,
            is_tied=bool(config.get("tie_word_embeddings", self.is_tied)),
            attention_scale=(
                float(config.get("attention_multiplier", 1.0))
                if self.has_multipliers
                else head_dim**-0.5
            ),
            biases=self.biases(config),
            rotary=rotary,
            has_rms_norms=self.has_rms_norms,
            has_head_norms=self.has_head_norms,
            windows=self.window(config),
            embedding_scale=float(multiplier.get("embedding_multiplier", 1.0)),
            residual_scale=float(multiplier.get("residual_multiplier", 1.0)),
            logit_scale=1.0 / float(multiplier.get("logits_scaling", 1.0)),
        )


def _num_layers(config: Config, key: str = "num_hidden_layers") -> int:
    count = int(config[key])
    if not 1 <= count <= _MAX_LAYERS:
        raise ValueError(f"{key} is not a number from 1 to {_MAX_LAYERS}")
    return count


def _rotary(config: Config) -> Rotary | None:
    """Return the rotary positions of a config, None for a kind that we do not compute.

    transformers 5 writes `rope_parameters`, earlier versions `rope_theta` and `rope_scaling`.
    """
    scaling = config.get("rope_scaling") or {}
    values = {"rope_theta": config.get("rope_theta", 10000.0), **scaling}
    values |= config.get("rope_parameters") or {}
    kind = values.get("rope_type", values.get("type", "default"))
    theta = float(values["rope_theta"])
    if float(values.get("partial_rotary_factor", 1.0)) != 1.0:
        return None
    if kind == "default":
        return Rotary(theta)
    if kind == "linear":
        return Rotary(theta, linear_factor=float(values["factor"]))
    if kind != "llama3":
        return None
    original = values.get("original_max_position_embeddings") or config["max_position_embeddings"]
    scaling3 = Llama3Scaling(
        float(values["factor"]),
        float(values["low_freq_factor"]),
        float(values["high_freq_factor"]),
        float(original),
    )
    return Rotary(theta, llama3=scaling3)


def _llama_biases(config: Config) -> frozenset[Part]:
    attention: tuple[Part, ...] = ("query", "key", "value", "output")
    parts: list[Part] = [*attention] if config.get("attention_bias") else []
    return frozenset([*parts, "mlp"] if config.get("mlp_bias") else parts)


def _starcoder2_biases(config: Config) -> frozenset[Part]:
    return ALL_PARTS if config.get("use_bias", True) else frozenset()


def _sliding(config: Config) -> tuple[int | None, ...]:
    """Return one window for all layers."""
    return (_window(config),) * _num_layers(config)


def _sliding_by_layer(config: Config) -> tuple[int | None, ...]:
    """Return Qwen's windows: those of the upper layers, or of those that `layer_types` names."""
    count = _num_layers(config)
    window = _window(config) if config.get("use_sliding_window") else None
    kinds = config.get("layer_types")
    if kinds is None:
        first = int(config.get("max_window_layers", 28))
        return tuple(window if index >= first else None for index in range(count))
    if len(kinds) != count:
        raise ValueError("layer_types does not name every layer")
    return tuple(window if kind == "sliding_attention" else None for kind in kinds)


def _window(config: Config, default: int | None = None) -> int | None:
    window = config.get("sliding_window", default)
    return None if window is None else int(window)


_READERS: dict[str, Callable[[Config], Architecture | None]] = {
    "gpt_bigcode": _gpt_bigcode,
    "llama": Family(biases=_llama_biases),
    "mistral": Family(
        positions=4096 * 32, window=lambda c: (_window(c, default=4096),) * _num_layers(c)
    ),
    "qwen2": Family(
        biases=lambda _: frozenset(("query", "key", "value")),
        positions=32768,
        window=_sliding_by_layer,
    ),
    "qwen3": Family(
        biases=_llama_biases,
        positions=32768,
        head_dim=128,
        window=_sliding_by_layer,
        has_head_norms=True,
    ),
    "starcoder2": Family(
        names=_STARCODER2,
        biases=_starcoder2_biases,
        epsilon="norm_epsilon",
        activation="gelu_pytorch_tanh",
        positions=4096,
        is_tied=True,
        window=_sliding,
        has_rms_norms=False,
    ),
    "granite": Family(biases=_llama_biases, has_multipliers=True),
}
"""Functions that read a config.json, by `model_type`."""
