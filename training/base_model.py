"""The checkpoint that fine-tuning starts from, loaded without running any code of it."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, PreTrainedModel


def load_base_model(base: Path) -> PreTrainedModel:
    """Load the safetensors weights in `base`: in bfloat16 for a GPU, otherwise in float32.

    Pickled weights and code of the checkpoint are never loaded. Raises ValueError if the checkpoint
    cannot be loaded.
    """
    try:
        return AutoModelForCausalLM.from_pretrained(
            base,
            dtype=torch.bfloat16 if torch.cuda.is_available() else torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise ValueError(f"{base} cannot be tuned: {error}") from error
