"""Fine-tuning on dialogues, by transformers' Trainer: one GPU, several, DeepSpeed, or a CPU."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch.utils.data import Dataset
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments, set_seed
from transformers.trainer_utils import get_last_checkpoint

from chat.formats import CHATML_TOKENS
from chat.rendering import render
from chat.training.blocks import Block, blocks
from chat.training.config import TuneChatConfig
from chat.training.data import DialogueSplit
from engine.api import Message
from engine.errors import ConfigurationError
from engine.loading.adapter_store import TOKENIZER_FILE, WEIGHTS_FILE
from engine.tokenizer import Tokenizer
from training.tune_options import LORA_TARGETS

TEMPLATE_FILE = "dialogue_template.json"
PLAN_FILE = "plan.json"

QUESTION = "Write a Python function that returns the largest of three numbers."
"""Answered once after training, for a look."""

_SAMPLE_TOKENS = 128


@dataclass(frozen=True, slots=True)
class ChatReport:
    """What came of it. Perplexity is of the assistant's tokens in dialogues that were held out."""

    perplexity_before: float
    perplexity_after: float
    training_dialogues: int
    held_out_dialogues: int
    blocks: int
    sample: str

    @property
    def is_improved(self) -> bool:
        """Whether the result should be served."""
        return self.perplexity_after < self.perplexity_before


class _Blocks(Dataset[dict[str, torch.Tensor]]):
    def __init__(self, held: list[Block]) -> None:
        self._held = held

    def __len__(self) -> int:
        return len(self._held)

    def __getitem__(self, at: int) -> dict[str, torch.Tensor]:
        block = self._held[at]
        ids = torch.tensor(block.ids)
        return {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "labels": torch.tensor(block.labels),
        }


def tune_chat(
    base: Path,
    data: DialogueSplit,
    folder: Path,
    config: TuneChatConfig,
    say: Callable[[str], None] = print,
) -> ChatReport:
    """Tune the checkpoint in `base`; what was learned is in `folder/result` then.

    `folder` holds checkpoints too: run again, it goes on from the last. Raises ConfigurationError
    for a folder of another run, or for a model or data that cannot be used.
    """
    _check_plan(folder, base, config, data)
    set_seed(config.seed)
    tokenizer, added = with_chat_tokens(base)
    model = _load(base)
    _grow(model, tokenizer, added)
    size = min(config.block_size, int(model.config.max_position_embeddings))
    training = blocks(data.training, tokenizer, size, config.system)
    held_out = blocks(data.held_out, tokenizer, size, config.system)
    if not training or not held_out:
        raise ConfigurationError(f"The dialogues do not fill one sequence of {size} tokens.")
    trained = model if config.method == "full" else _with_adapter(model, config, added)
    trainer = Trainer(
        model=trained,
        args=_arguments(folder, config),
        train_dataset=_Blocks(training),
        eval_dataset=_Blocks(held_out),
    )
    before = math.exp(trainer.evaluate()["eval_loss"])
    say(f"before: perplexity {before:.2f} on {len(data.held_out)} dialogues that are held out")
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(folder)))
    after = math.exp(trainer.evaluate()["eval_loss"])
    say(f"after: perplexity {after:.2f}")
    out = folder / "result"
    trainer.save_model(str(out))
    sample = "" if config.deepspeed else _sample(trainer.model, tokenizer, config)
    report = ChatReport(
        before, after, len(data.training), len(data.held_out), len(training), sample
    )
    if trainer.is_world_process_zero():
        _finish(out, base, tokenizer, added, config)
    return report


def with_chat_tokens(base: Path) -> tuple[Tokenizer, tuple[int, ...]]:
    """Return a model's tokenizer with ChatML's four tokens, and the ids of those added."""
    inner = tokenizers.Tokenizer.from_file(str(base / "tokenizer.json"))
    missing = [name for name in CHATML_TOKENS if inner.token_to_id(name) is None]
    inner.add_special_tokens(missing)
    tokenizer = Tokenizer(inner, str(base))
    ids = [tokenizer.special_id(name) for name in missing]
    return tokenizer, tuple(id_ for id_ in ids if id_ is not None)


def _load(base: Path) -> Any:
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


def _grow(model: Any, tokenizer: Tokenizer, added: tuple[int, ...]) -> None:
    """Make room for added tokens, their rows being the mean of all others."""
    rows = model.get_input_embeddings().weight
    mean = rows.detach().float().mean(0)
    if added and max(added) >= rows.shape[0]:
        model.resize_token_embeddings(max(added) + 1, mean_resizing=False)
    with torch.no_grad():
        for id_ in added:
            model.get_input_embeddings().weight[id_] = mean
    model.config.use_cache = False


def _with_adapter(model: Any, config: TuneChatConfig, added: tuple[int, ...]) -> Any:
    if config.gradient_checkpointing:
        model.enable_input_require_grads()
    lora = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=list(LORA_TARGETS),
        trainable_token_indices={"wte": list(added)} if added else None,
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, lora)


def _arguments(folder: Path, config: TuneChatConfig) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=config.epochs,
        per_device_train_batch_size=config.batch_per_device,
        per_device_eval_batch_size=config.batch_per_device,
        gradient_accumulation_steps=config.accumulation,
        learning_rate=config.learning_rate,
        lr_scheduler_type=config.schedule,
        warmup_steps=config.warmup_ratio,  # below 1 it is a share of all steps
        weight_decay=config.weight_decay,
        gradient_checkpointing=config.gradient_checkpointing,
        bf16=torch.cuda.is_available(),
        use_cpu=not torch.cuda.is_available(),
        save_steps=config.save_steps,
        save_total_limit=1,
        logging_steps=config.log_steps,
        seed=config.seed,
        deepspeed=config.deepspeed_file,
        report_to=[],
    )


def _check_plan(folder: Path, base: Path, config: TuneChatConfig, data: DialogueSplit) -> None:
    """Raise ConfigurationError for a folder that holds another run."""
    plan = {
        "base": str(base),
        "config": config.model_dump(),
        "dialogues": [len(data.training), len(data.held_out)],
    }
    file = folder / PLAN_FILE
    if file.exists() and json.loads(file.read_text(encoding="utf-8")) != plan:
        raise ConfigurationError(
            f"{folder} holds a run with another model, configuration or data. Delete it, or choose "
            "another --folder."
        )
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(plan, indent=1), encoding="utf-8")


def _sample(model: Any, tokenizer: Tokenizer, config: TuneChatConfig) -> str:
    """Return the answer to one question, greedily."""
    system = [Message("system", config.system)] if config.system else []
    prompt = render([*system, Message("user", QUESTION)], tokenizer, format_name="chatml")
    ids = torch.tensor([prompt.ids], device=model.device)
    model.eval()
    made = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=_SAMPLE_TOKENS,
        do_sample=False,
        eos_token_id=sorted(prompt.stop_ids),
        pad_token_id=min(prompt.stop_ids),
    )
    return tokenizer.decode(made[0, len(prompt.ids) :].tolist()).strip()


def _finish(
    out: Path, base: Path, tokenizer: Tokenizer, added: tuple[int, ...], config: TuneChatConfig
) -> None:
    """Put beside the weights what serving them needs."""
    if config.method == "lora":
        _without_embeddings(out / WEIGHTS_FILE)
    template = {"name": "chatml", "system": config.system, "tokens": list(CHATML_TOKENS)}
    (out / TEMPLATE_FILE).write_text(json.dumps(template, indent=1) + "\n", encoding="utf-8")
    if config.method == "full":
        for file in (*base.glob("tokenizer_config.json"), *base.glob("special_tokens_map.json")):
            (out / file.name).write_bytes(file.read_bytes())
    if added or config.method == "full":
        (out / TOKENIZER_FILE).write_text(tokenizer.to_json(), encoding="utf-8")


def _without_embeddings(file: Path) -> None:
    """Leave the whole embedding out, which peft saves beside its new rows when it was resized."""
    weights = load_file(file)
    kept = {name: tensor for name, tensor in weights.items() if _is_learned(name)}
    save_file(kept, file, metadata={"format": "pt"})


def _is_learned(name: str) -> bool:
    return "lora_" in name or "wte.token_adapter.trainable_tokens_delta" in name
