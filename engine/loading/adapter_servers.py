"""Which adapters another server applies in full. Imports no torch.

vLLM 0.32 computes GPTBigCode through its Transformers backend. There the fused matrix of queries,
keys and values of multi-query attention (`c_attn`) becomes a layer that vLLM cannot give an
adapter: it logs "It will be ignored" at its start, and then answers with a part of the adapter. An
adapter with added tokens is refused ("unsupported LoRA weight").
"""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path

from safetensors import SafetensorError, safe_open

from engine.loading.adapter_store import CONFIG_FILE, WEIGHTS_FILE

_FUSED = ".c_attn.lora_"
"""Part of the name of a tensor of the fused matrix."""


class VllmSupport(Enum):
    """What vLLM does with an adapter."""

    FULL = "applies it"
    PARTIAL = "ignores a part of it"
    REFUSED = "refuses it"
    UNKNOWN = "unknown"


def vllm_support(folder: Path) -> VllmSupport:
    """Return what vLLM does with the adapter in a folder; reads no weights."""
    try:
        config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        has_tokens = bool(config.get("trainable_token_indices"))
        with safe_open(folder / WEIGHTS_FILE, framework="np") as file:
            shapes = {
                name: tuple(file.get_slice(name).get_shape())
                for name in file.keys()  # noqa: SIM118 (it has no iterator)
                if _FUSED in name
            }
    except (OSError, ValueError, AttributeError, SafetensorError):
        return VllmSupport.UNKNOWN
    if has_tokens:
        return VllmSupport.REFUSED
    return VllmSupport.PARTIAL if _is_multi_query(shapes) else VllmSupport.FULL


def _is_multi_query(shapes: dict[str, tuple[int, ...]]) -> bool:
    """Whether the fused matrix has fewer rows for keys and values than for queries."""
    for name, shape in shapes.items():
        up = shapes.get(name.replace("lora_A", "lora_B"))
        if "lora_A" in name and up is not None and up[0] != 3 * shape[-1]:
            return True
    return False
