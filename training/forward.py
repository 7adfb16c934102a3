"""The forward pass of training, over the parameters of transformers' GPTBigCodeForCausalLM.

It computes the same function with fewer and faster operations: matrix products and the residual
stream are bfloat16, attention is one fused kernel with a single key and value head, and on a GPU a
layer is compiled once and used for all layers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import GPTBigCodeForCausalLM

from training.model import HEAD_WIDTH

Layer = Callable[..., Tensor]
"""A function of the hidden state and a layer's weights, such as `layer_output`."""


def layer_output(
    hidden: Tensor,
    norm_1: Tensor,
    norm_1_bias: Tensor,
    attention: Tensor,
    attention_bias: Tensor,
    attention_out: Tensor,
    attention_out_bias: Tensor,
    norm_2: Tensor,
    norm_2_bias: Tensor,
    up: Tensor,
    up_bias: Tensor,
    down: Tensor,
    down_bias: Tensor,
) -> Tensor:
    """Return the output of a layer for a hidden state (batch, length, width); weights are float32.

    The matrices are named in the order of `GPTBigCodeBlock`'s parameters.
    """

    def linear(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return functional.linear(inputs, weight.to(inputs.dtype), bias.to(inputs.dtype))

    def norm(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        dtype = inputs.dtype
        return functional.layer_norm(inputs, inputs.shape[-1:], weight.to(dtype), bias.to(dtype))

    batch, length, width = hidden.shape
    projected = linear(norm(hidden, norm_1, norm_1_bias), attention, attention_bias)
    query, key, value = torch.split(projected, [width, HEAD_WIDTH, HEAD_WIDTH], dim=-1)
    query = query.view(batch, length, width // HEAD_WIDTH, HEAD_WIDTH).transpose(1, 2)
    attended = functional.scaled_dot_product_attention(
        query, key[:, None], value[:, None], is_causal=True, enable_gqa=True
    )
    attended = attended.transpose(1, 2).reshape(batch, length, width)
    hidden = hidden + linear(attended, attention_out, attention_out_bias)
    inner = linear(norm(hidden, norm_2, norm_2_bias), up, up_bias)
    return hidden + linear(functional.gelu(inner, approximate="tanh"), down, down_bias)


def compile_layer() -> Layer:
    """Return `layer_output`, compiled at its first call; one graph serves all layers."""
    return torch.compile(layer_output, fullgraph=True, dynamic=False)


def hidden_state(
    model: GPTBigCodeForCausalLM, inputs: Tensor, layer: Layer = layer_output
) -> Tensor:
    """Return the last hidden state (batch, length, width) in bfloat16 for token ids."""
    decoder: Any = model.transformer
    positions = decoder.wpe.weight[: inputs.shape[1]]
    hidden = (functional.embedding(inputs, decoder.wte.weight) + positions).bfloat16()
    for block in decoder.h:
        hidden = layer(hidden, *block.parameters())
    norm = decoder.ln_f
    weight, bias = norm.weight.bfloat16(), norm.bias.bfloat16()
    return functional.layer_norm(hidden, hidden.shape[-1:], weight, bias)
