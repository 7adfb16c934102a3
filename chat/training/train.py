"""Fine-tune on dialogues with transformers' Trainer: on GPUs, with DeepSpeed, or on a CPU."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.data import Dataset
from transformers import PreTrainedModel, Trainer, TrainingArguments, set_seed
from transformers.trainer_utils import get_last_checkpoint

from chat.rendering import FormatName
from chat.training.blocks import TrainingBlock, build_blocks
from chat.training.config import TuneChatConfig
from chat.training.data import DialogueSplit
from chat.training.dialogue_format import format_for
from chat.training.tuned_model import (
    add_adapter,
    add_embeddings,
    sample_answer,
    write_serving_files,
)
from engine.errors import ConfigurationError
from engine.loading.trainable import TrainableModel
from training.base_model import load_base_model

PLAN_FILE = "plan.json"


@dataclass(frozen=True, slots=True)
class ChatReport:
    """Results of fine-tuning on dialogues."""

    perplexity_before: float
    """Perplexity of the assistant's tokens in held-out dialogues, before training."""
    perplexity_after: float
    """The same perplexity after training."""
    training_dialogues: int
    held_out_dialogues: int
    blocks: int
    """Number of training sequences."""
    sample: str
    """Answer to a sample question; empty under DeepSpeed."""
    format_name: FormatName
    """Format of the dialogues."""

    @property
    def is_improved(self) -> bool:
        """Whether the result should be served."""
        return self.perplexity_after < self.perplexity_before


class _BlockDataset(Dataset[dict[str, torch.Tensor]]):
    """Training blocks as torch's data loader reads them."""

    def __init__(self, blocks: list[TrainingBlock]) -> None:
        self._blocks = blocks

    def __len__(self) -> int:
        return len(self._blocks)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        block = self._blocks[index]
        ids = torch.tensor(block.ids)
        return {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "labels": torch.tensor(block.labels),
        }


def tune_chat(
    base: TrainableModel,
    data: DialogueSplit,
    folder: Path,
    config: TuneChatConfig,
    say: Callable[[str], None] = print,
) -> ChatReport:
    """Tune a model on dialogues; write the adapter or the weights to `folder/result`.

    `folder` also contains the checkpoints: another run of the same plan continues from the last
    one. Raises ConfigurationError if `folder` belongs to another run, or if the model or the data
    cannot be used.
    """
    _check_plan(folder, base.path, config, data)
    set_seed(config.seed)
    dialogue_format, names = format_for(base, config), base.architecture.names
    size = min(config.block_size, base.architecture.positions)
    training = build_blocks(data.training, dialogue_format, size, config.system)
    held_out = build_blocks(data.held_out, dialogue_format, size, config.system)
    if not training or not held_out:
        raise ConfigurationError(
            f"The dialogues do not fill one sequence of {size} tokens. Add dialogues."
        )
    model = _load(base.path)
    add_embeddings(model, dialogue_format.added_ids)
    if config.method == "lora":
        model = add_adapter(model, names, config, dialogue_format.added_ids)
    trainer = Trainer(
        model=model,
        args=_training_arguments(folder, config),
        train_dataset=_BlockDataset(training),
        eval_dataset=_BlockDataset(held_out),
    )
    before = math.exp(trainer.evaluate()["eval_loss"])
    say(f"before: perplexity {before:.2f} on {len(data.held_out)} held-out dialogues")
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(folder)))
    after = math.exp(trainer.evaluate()["eval_loss"])
    say(f"after: perplexity {after:.2f}")
    out = folder / "result"
    trainer.save_model(str(out))
    sample = "" if config.deepspeed else sample_answer(trainer.model, dialogue_format, config)
    if trainer.is_world_process_zero():
        write_serving_files(out, base, dialogue_format, config)
    counts = len(data.training), len(data.held_out), len(training)
    return ChatReport(before, after, *counts, sample, dialogue_format.name)


def _load(base: Path) -> PreTrainedModel:
    try:
        return load_base_model(base)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error


def _training_arguments(folder: Path, config: TuneChatConfig) -> TrainingArguments:
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
    """Write the plan to `folder`. Raises ConfigurationError if it has the plan of another run."""
    plan = {
        "base": str(base),
        "config": config.model_dump(),
        "dialogues": [len(data.training), len(data.held_out)],
    }
    file = folder / PLAN_FILE
    if file.exists() and json.loads(file.read_text(encoding="utf-8")) != plan:
        raise ConfigurationError(
            f"{folder} contains a run with another model, configuration or data. Delete it, or "
            "choose another --folder."
        )
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(plan, indent=1), encoding="utf-8")
