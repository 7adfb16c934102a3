"""The optimiser loop of fine-tuning on a repository, and the adapter that it trains."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from accelerate import Accelerator
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset
from transformers import PreTrainedModel

from engine.architecture import Architecture
from fim.training.options import TuneOptions, learning_rate
from fim.training.rows import PADDING
from training.labels import IGNORED_LABEL

_WARM_UP_SHARE = 0.1


def add_adapter(
    model: PreTrainedModel, architecture: Architecture, options: TuneOptions
) -> PeftModel:
    """Return the model with a new LoRA adapter of all linear modules of its layers.

    Only the adapter is trainable. BigCode's list of modules has those of the attention only.
    """
    config = LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules=list(architecture.names.modules),
        task_type="CAUSAL_LM",
    )
    adapted = get_peft_model(model, config)
    if model.dtype == torch.bfloat16:  # the adapter itself is trained in full precision
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
    return adapted


def train(
    model: PreTrainedModel | PeftModel,
    architecture: Architecture,
    rows: Tensor,
    steps: int,
    options: TuneOptions,
    accelerator: Accelerator,
    say: Callable[[str], None],
) -> None:
    """Train on the rows (count, length) for `steps` steps; they start again after the last one."""
    model.train()
    model.config.use_cache = False
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    rate = learning_rate(architecture, options)
    optimizer = torch.optim.AdamW(weights, rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _cosine(step, steps))
    rows_per_process = max(1, options.rows_per_step // accelerator.num_processes)
    loader = _shuffled_batches(rows, rows_per_process, options.seed)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    step = 0
    while step < steps:
        for (ids,) in loader:
            is_padding = ids == PADDING
            with accelerator.autocast(), _bfloat16_products(accelerator):
                logits = model(input_ids=torch.where(is_padding, 0, ids)[:, :-1]).logits
            labels = torch.where(is_padding, IGNORED_LABEL, ids)[:, 1:]
            loss = functional.cross_entropy(logits.flatten(0, 1).float(), labels.flatten())
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            if step % 10 == 0 or step == steps:
                say(f"step {step}/{steps} loss {float(loss.detach()):.3f}")
            if step == steps:
                break


def _shuffled_batches(rows: Tensor, size: int, seed: int) -> DataLoader[tuple[Tensor, ...]]:
    generator = torch.Generator().manual_seed(seed)
    return DataLoader(TensorDataset(rows), size, shuffle=True, generator=generator)


def _cosine(step: int, steps: int) -> float:
    """Return the factor of the learning rate: linear warm-up, then cosine decay to zero."""
    warm_up = max(1, int(_WARM_UP_SHARE * steps))
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


def _bfloat16_products(accelerator: Accelerator) -> AbstractContextManager[object]:
    """Compute matrix products in bfloat16 if the weights are float32.

    On a GPU the weights are already bfloat16.
    """
    return torch.autocast(accelerator.device.type, torch.bfloat16)
