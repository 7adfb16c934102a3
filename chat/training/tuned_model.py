"""The model that is fine-tuned on dialogues: its tokens, its adapter, and its files."""

from __future__ import annotations

import json
from pathlib import Path

import tokenizers
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, PreTrainedModel

from chat.formats import CHATML_TOKENS
from chat.rendering import render
from chat.training.config import TuneChatConfig
from engine.api import Message
from engine.errors import ConfigurationError
from engine.loading.adapter_store import TOKENIZER_FILE, WEIGHTS_FILE
from engine.tokenizer import Tokenizer
from training.tune_options import LORA_TARGETS

TEMPLATE_FILE = "dialogue_template.json"

SAMPLE_QUESTION = "Write a Python function that returns the largest of three numbers."
"""Question that the model answers once after training, for the model card."""

_MAX_SAMPLE_TOKENS = 128


def tokenizer_with_chat_tokens(base: Path) -> tuple[Tokenizer, tuple[int, ...]]:
    """Return a model's tokenizer with ChatML's four tokens, and the ids of the added ones."""
    inner = tokenizers.Tokenizer.from_file(str(base / "tokenizer.json"))
    missing = [name for name in CHATML_TOKENS if inner.token_to_id(name) is None]
    inner.add_special_tokens(missing)
    tokenizer = Tokenizer(inner, str(base))
    ids = [tokenizer.special_id(name) for name in missing]
    return tokenizer, tuple(id_ for id_ in ids if id_ is not None)


def load_base_model(base: Path) -> PreTrainedModel:
    """Load the checkpoint in `base`. Raises ConfigurationError if it cannot be loaded."""
    try:
        return AutoModelForCausalLM.from_pretrained(
            base,
            dtype=torch.bfloat16 if torch.cuda.is_available() else torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
        )
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{base} cannot be tuned: {error}") from error


def add_embeddings(model: PreTrainedModel, token_ids: tuple[int, ...]) -> None:
    """Set the embeddings of added tokens to the mean of all others; resize the table if needed."""
    table = model.get_input_embeddings().weight
    mean = table.detach().float().mean(0)
    if token_ids and max(token_ids) >= table.shape[0]:
        model.resize_token_embeddings(max(token_ids) + 1, mean_resizing=False)
    with torch.no_grad():
        for id_ in token_ids:
            model.get_input_embeddings().weight[id_] = mean
    model.config.use_cache = False


def add_adapter(
    model: PreTrainedModel, config: TuneChatConfig, added_ids: tuple[int, ...]
) -> PeftModel:
    """Return the model with a LoRA adapter and trainable embeddings of the added tokens."""
    if config.gradient_checkpointing:
        model.enable_input_require_grads()
    lora = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=list(LORA_TARGETS),
        trainable_token_indices={"wte": list(added_ids)} if added_ids else None,
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, lora)


def sample_answer(
    model: PreTrainedModel | PeftModel, tokenizer: Tokenizer, config: TuneChatConfig
) -> str:
    """Return the greedy answer to the sample question."""
    system = [Message("system", config.system)] if config.system else []
    messages = [*system, Message("user", SAMPLE_QUESTION)]
    prompt = render(messages, tokenizer, format_name="chatml")
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
    return tokenizer.decode(output[0, len(prompt.ids) :].tolist()).strip()


def write_serving_files(
    out: Path, base: Path, tokenizer: Tokenizer, added_ids: tuple[int, ...], config: TuneChatConfig
) -> None:
    """Write the files that the engine needs in addition to the weights."""
    if config.method == "lora":
        _drop_embeddings(out / WEIGHTS_FILE)
    template = {"name": "chatml", "system": config.system, "tokens": list(CHATML_TOKENS)}
    (out / TEMPLATE_FILE).write_text(json.dumps(template, indent=1) + "\n", encoding="utf-8")
    if config.method == "full":
        for file in (*base.glob("tokenizer_config.json"), *base.glob("special_tokens_map.json")):
            (out / file.name).write_bytes(file.read_bytes())
    if added_ids or config.method == "full":
        (out / TOKENIZER_FILE).write_text(tokenizer.to_json(), encoding="utf-8")


def _drop_embeddings(file: Path) -> None:
    """Keep only the adapter: after a resize, peft also saves the whole embedding table."""
    weights = load_file(file)
    kept = {name: tensor for name, tensor in weights.items() if _is_adapter_weight(name)}
    save_file(kept, file, metadata={"format": "pt"})


def _is_adapter_weight(name: str) -> bool:
    return "lora_" in name or "wte.token_adapter.trainable_tokens_delta" in name
