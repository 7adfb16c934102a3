"""The model that is fine-tuned on dialogues: its tokens, its adapter, and its files."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from chat.formats import CHATML_TOKENS
from chat.training.config import TuneChatConfig
from chat.training.dialogue_format import DialogueFormat
from engine.api import Message
from engine.architecture import TensorNames
from engine.loading.adapter_store import TEMPLATE_FILE, TOKENIZER_FILE, WEIGHTS_FILE
from engine.loading.shared_files import copy_shared_files
from engine.loading.trainable import TrainableModel

SAMPLE_QUESTION = "Write a Python function that returns the largest of three numbers."
"""Question that the model answers once after training, for the model card."""

_MAX_SAMPLE_TOKENS = 128


def add_embeddings(model: PreTrainedModel, token_ids: tuple[int, ...]) -> None:
    """Set the rows of added tokens to the mean of all others; resize the matrices if needed.

    The rows are those of the embeddings and, if it is another matrix, of the output matrix.
    """
    accessors = (model.get_input_embeddings, model.get_output_embeddings)
    means = [access().weight.detach().float().mean(0) for access in accessors]
    size = model.get_input_embeddings().weight.shape[0]
    if token_ids and max(token_ids) >= size:
        model.resize_token_embeddings(max(token_ids) + 1, mean_resizing=False)
    with torch.no_grad():
        for access, mean in zip(accessors, means, strict=True):
            access().weight[list(token_ids)] = mean.to(access().weight.dtype)
    model.config.use_cache = False


def add_adapter(
    model: PreTrainedModel,
    names: TensorNames,
    config: TuneChatConfig,
    added_ids: tuple[int, ...],
) -> PeftModel:
    """Return the model with a LoRA adapter and trainable embeddings of the added tokens."""
    if config.gradient_checkpointing:
        model.enable_input_require_grads()
    lora = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=list(names.modules),
        trainable_token_indices=({names.embedding_module: list(added_ids)} if added_ids else None),
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, lora)


def sample_answer(
    model: PreTrainedModel | PeftModel, dialogue_format: DialogueFormat, config: TuneChatConfig
) -> str:
    """Return the greedy answer to the sample question."""
    system = [Message("system", config.system)] if config.system else []
    messages = [*system, Message("user", SAMPLE_QUESTION)]
    prompt = dialogue_format.render((*messages,))
    ids = torch.tensor([prompt.ids], device=model.device)
    model.eval()
    output = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=_MAX_SAMPLE_TOKENS,
        do_sample=False,
        eos_token_id=sorted(prompt.stop_ids),
        pad_token_id=min(prompt.stop_ids),
    )
    return dialogue_format.tokenizer.decode(output[0, len(prompt.ids) :].tolist()).strip()


def write_serving_files(
    out: Path, base: TrainableModel, dialogue_format: DialogueFormat, config: TuneChatConfig
) -> None:
    """Write the files that the engine needs in addition to the weights."""
    if config.method == "lora":
        _drop_embeddings(out / WEIGHTS_FILE, base.architecture.names.embedding_module)
    tokens = list(CHATML_TOKENS) if dialogue_format.name == "chatml" else []
    template = {"name": dialogue_format.name, "system": config.system, "tokens": tokens}
    (out / TEMPLATE_FILE).write_text(json.dumps(template, indent=1) + "\n", encoding="utf-8")
    if config.method == "full":
        copy_shared_files(base.path, out)
    if dialogue_format.added_ids:
        text = dialogue_format.tokenizer.to_json()
        (out / TOKENIZER_FILE).write_text(text, encoding="utf-8")


def _drop_embeddings(file: Path, embedding_module: str) -> None:
    """Keep only the adapter: after a resize, peft also saves the whole embedding table."""
    weights = load_file(file)
    rows = f"{embedding_module}.token_adapter.trainable_tokens_delta"
    kept = {name: tensor for name, tensor in weights.items() if "lora_" in name or rows in name}
    save_file(kept, file, metadata={"format": "pt"})
