"""A model with random weights that are created on the device and never written to disk.

transformers' module and our network share the same memory: 15.5 billion weights in bfloat16 take
31 GB, and one card must hold them together with their quantised copies.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import GPTBigCodeConfig, GPTBigCodeForCausalLM

from engine.api import EngineInfo
from engine.kv_cache.arena import largest_arena
from engine.kv_cache.cache import CacheShape
from engine.kv_cache.pool import default_limit
from engine.loading.on_disk import EMBEDDED_DIR
from engine.model_config import require_architecture
from engine.network.backend import Backend
from engine.network.build_weights import ProductParts, build_weights
from engine.network.lean_forward import LeanForward
from engine.network.model import LoadedModel
from engine.network.quantise import Bits
from engine.network.quantised import Quantised
from engine.network.weights import Dense
from engine.tokenizer import Tokenizer

SHAPES = {
    # Width, layers, heads, ids and positions of bigcode/tiny_starcoder_py, starcoderbase-1b and
    # starcoder, and of a rehearsal on a CPU.
    "15b": (6144, 40, 48, 49152, 8192),
    "1b": (2048, 24, 16, 49152, 8192),
    "164m": (768, 20, 12, 49152, 8192),
    "tiny": (128, 2, 2, 9000, 1024),
}
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
MAX_WINDOWS = 10
"""Context windows in the arena: those of eight users, a chat and a spare one."""


def random_module(shape: str) -> GPTBigCodeForCausalLM:
    """Return transformers' module of a shape, with random bfloat16 weights on the device."""
    width, layers, heads, vocab, positions = SHAPES[shape]
    config = GPTBigCodeConfig(
        vocab_size=vocab,
        n_positions=positions,
        n_embd=width,
        n_layer=layers,
        n_head=heads,
        n_inner=4 * width,
        multi_query=True,
        bos_token_id=0,
        eos_token_id=0,
    )
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(DEVICE):
            return GPTBigCodeForCausalLM(config).eval()
    finally:
        torch.set_default_dtype(before)


@dataclass(frozen=True, slots=True)
class DeviceModel:
    """Our network over the weights of a module."""

    model: LoadedModel
    weight_bytes: int
    """Bytes that a decoded token reads: all weights but the position embeddings."""


def device_model(module: GPTBigCodeForCausalLM, dtype: str) -> DeviceModel:
    """Return our network over the module's weights, in `bfloat16`, `int8` or `int4`."""
    tables: list[Dense | Quantised] = []

    def make(parts: ProductParts) -> Dense | Quantised:
        if dtype == "bfloat16":
            table: Dense | Quantised = Dense(parts.weight, parts.bias)
        else:
            bits: Bits = 8 if dtype == "int8" or parts.is_table else 4
            table = Quantised(parts.weight, parts.bias, bits, Backend())
        tables.append(table)
        return table

    config = module.config.to_dict()
    architecture = require_architecture(config)
    weights = build_weights(architecture, lambda name: module.get_parameter(name).detach(), make)
    devices = (weights.device,) * len(weights.layers)
    shape = CacheShape(
        architecture.positions, architecture.kv_heads, weights.head_dim, devices, weights.dtype
    )
    arena = largest_arena(shape, default_limit(shape, MAX_WINDOWS))
    tokenizer = Tokenizer.from_file(EMBEDDED_DIR)
    info = EngineInfo("random", "gpt_bigcode", shape.capacity, DEVICE, dtype, is_demo=False)
    model = LoadedModel(
        forward=LeanForward(weights, None, arena),
        tokenizer=tokenizer,
        info=info,
        vocab_size=config["vocab_size"],
        end_ids=frozenset(),
        cache_shape=shape,
        arena=arena,
    )
    return DeviceModel(model, sum(map(_bytes, tables)))


def _bytes(table: Dense | Quantised) -> int:
    if isinstance(table, Quantised):
        return table.bytes
    return table.weight.numel() * table.weight.itemsize
