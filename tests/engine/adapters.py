"""LoRA adapters for tests, written by peft."""

from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import GPTBigCodeForCausalLM

from engine.loading.adapter_store import AdapterNote, fingerprint

PROMPT = tuple(range(30, 60))
ALL_TARGETS = ["c_attn", "c_proj", "c_fc"]


def make_adapter(
    base: Path, out: Path, *, seed: int, targets: list[str] = ALL_TARGETS, rslora: bool = False
) -> list[int]:
    """Write an adapter with large changes; return the greedy output of peft's model with it."""
    torch.manual_seed(seed)
    model = GPTBigCodeForCausalLM.from_pretrained(base)
    config = LoraConfig(
        r=4,
        lora_alpha=64,
        target_modules=targets,
        use_rslora=rslora,
        init_lora_weights=False,
        task_type="CAUSAL_LM",
    )
    adapted = get_peft_model(model, config).eval()
    adapted.save_pretrained(out)
    prompt = torch.tensor([PROMPT])
    output = adapted.generate(
        input_ids=prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=12,
        do_sample=False,
        pad_token_id=4,
    )
    return list(output[0, len(PROMPT) :].tolist())


def note(base: Path) -> AdapterNote:
    return AdapterNote(str(base), fingerprint(base))
