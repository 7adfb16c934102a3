"""Model cards of adapters and merged checkpoints, and the advice on how to serve them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.loading.adapter_servers import VllmSupport, vllm_support
from engine.loading.adapter_store import AdapterFolder, AdapterNote

_MEASURES = {
    "exact_match": "lines of held-out files completed exactly",
    "nats_per_token": "nats per token of held-out files",
}


def serving_advice(folder: Path, name: str) -> str:
    """Return which way works for another server with the adapter in `folder`, as a sentence."""
    merging = f"`starcoder-lsp tune merge {name} FOLDER` writes a checkpoint that it serves in full"
    match vllm_support(folder):
        case VllmSupport.PARTIAL:
            return (
                "vLLM would silently ignore a part of this adapter (its changes of c_attn). "
                f"{merging}."
            )
        case VllmSupport.REFUSED:
            return f"vLLM refuses this adapter, because it adds tokens. {merging}."
        case VllmSupport.FULL:
            return f"vLLM serves this adapter with --enable-lora --lora-modules {name}={folder}."
        case VllmSupport.UNKNOWN:
            return "The files of this adapter are damaged. Train it again."


def code_adapter_card(name: str, note: AdapterNote, advice: str) -> str:
    """Return the model card of an adapter that was trained on a repository, as Markdown."""
    return f"""---
base_model: {note.base}
library_name: peft
tags: [starcoder, code]
---

# {name}

A LoRA adapter for completions with {note.base}, trained by `starcoder-lsp tune code`.

{_table(note.report)}
Other servers: {advice}
"""


def merged_card(base: str, adapter: AdapterFolder) -> str:
    """Return the model card of a checkpoint with a merged adapter, as Markdown."""
    return f"""---
base_model: {base}
base_model_relation: finetune
library_name: transformers
tags: [starcoder]
---

# {base} with {adapter.name}

The weights of {base} plus the LoRA adapter {adapter.name}, written by `starcoder-lsp tune merge`.
The content, the licence and the errors of the adapter's training data carry over to the result. The
licence of the base model still applies.

{_table(adapter.note.report)}
| program | how to use it |
|---|---|
| starcoder-lsp | the setting `starcoder.model` with the path of this folder |
| vLLM | `vllm serve FOLDER --served-model-name {adapter.name} --generation-config vllm` |
| transformers | `AutoModelForCausalLM.from_pretrained(FOLDER)` |
"""


def _table(report: dict[str, Any]) -> str:
    """Return the measurements before and after the training as Markdown, empty without any."""
    before, after = (report.get(when) for when in ("before", "after"))
    rows = []
    if isinstance(before, dict) and isinstance(after, dict):
        rows = [
            (title, before[key], after[key])
            for key, title in _MEASURES.items()
            if key in before and key in after
        ]
    elif "perplexity_before" in report and "perplexity_after" in report:
        title = "perplexity of the assistant's words in held-out dialogues"
        rows = [(title, report["perplexity_before"], report["perplexity_after"])]
    if not rows:
        return ""
    lines = [f"| {title} | {_number(old)} | {_number(new)} |\n" for title, old, new in rows]
    return f"| | before | after |\n|---|---|---|\n{''.join(lines)}"


def _number(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
