"""Inputs and labels of a training step, and how much each label counts in the loss."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import tokenizers
import torch
from torch import Tensor

from training.packing import PAD, Rows
from training.plan import TrainingPlan
from training.tokenizer import SPECIAL_TOKENS, special_id

IGNORED_LABEL = -100
"""Label of padding, which no loss is computed for."""

NUM_OPENING_TOKENS = 4
"""Number of the middle's first tokens that have a weight of their own.

They must connect the middle to the prefix, which in PSM order comes before the suffix.
"""


@dataclass(frozen=True, slots=True)
class RoleTokens:
    """Ids of the special tokens that show what the tokens after them belong to.

    The id -1 matches no token.
    """

    middle: int = SPECIAL_TOKENS.index("<fim_middle>")
    """Id of the token that starts a middle."""
    end: int = SPECIAL_TOKENS.index("<|endoftext|>")
    """Id of the token that ends a document."""
    others: tuple[int, ...] = (-1,)
    """Ids of the tokens that start messages of the system and the user, which are not learned."""
    assistant: int = -1
    """Id of the token that starts a message of the assistant."""

    @classmethod
    def from_tokenizer(cls, tokenizer: tokenizers.Tokenizer) -> RoleTokens:
        """Look up ChatML's tokens. Raises ValueError if the tokenizer lacks one of them."""
        others = tuple(special_id(tokenizer, name) for name in ("<|system|>", "<|user|>"))
        return cls(others=others, assistant=special_id(tokenizer, "<|assistant|>"))


@dataclass(frozen=True, slots=True)
class StageData:
    """Training sequences and label weights for the steps of one stage."""

    rows: Rows
    end_step: int
    """Step before which the stage ends."""
    middle_weight: float = 1.0
    """Loss weight of the tokens after `<fim_middle>`; other tokens have weight 1."""
    opening_weight: float = 1.0
    """Weight of the first `NUM_OPENING_TOKENS` of these tokens."""
    role_tokens: RoleTokens = RoleTokens()


def step_batches(
    rows: Rows, step: int, plan: TrainingPlan, processes: int = 1
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the inputs and labels of one step, both (rows in the batch, length - 1).

    Rows are taken in order and start again at the end; padding has no label. With several
    processes, batches are no larger than the share of one process.
    """
    first = step * plan.rows_per_step
    step_rows = rows[np.arange(first, first + plan.rows_per_step) % len(rows)]
    share = plan.rows_per_step // processes
    size = max(n for n in range(1, min(plan.rows_per_batch, share) + 1) if share % n == 0)
    for start in range(0, plan.rows_per_step, size):
        batch = step_rows[start : start + size].astype(np.int64)
        is_padding = batch == PAD
        labels = torch.from_numpy(np.where(is_padding, IGNORED_LABEL, batch)[:, 1:])
        yield torch.from_numpy(np.where(is_padding, 0, batch)[:, :-1]), labels


def label_weights(inputs: Tensor, labels: Tensor, data: StageData) -> Tensor:
    """Return the weight of each label, (batch, length); padding has weight 0.

    A label is in a middle if, up to its input, `<fim_middle>` came after the last
    `<|endoftext|>`. It is in a message of the system or the user, which has weight 0, if their
    token came after the last `<|assistant|>` or `<|endoftext|>`.
    """

    def last_position(*ids: int) -> Tensor:
        is_match = torch.isin(inputs, torch.tensor(ids, device=inputs.device))
        return torch.where(is_match, positions, -1).cummax(1).values

    positions = torch.arange(inputs.shape[1], device=inputs.device).expand_as(inputs)
    tokens = data.role_tokens
    middle, end = last_position(tokens.middle), last_position(tokens.end)
    is_opening = positions - middle < NUM_OPENING_TOKENS
    weights = torch.where(is_opening, data.opening_weight, data.middle_weight)
    weights = torch.where(middle > end, weights, 1.0)
    is_other = last_position(*tokens.others) > last_position(tokens.assistant, tokens.end)
    return weights * ~is_other * (labels != IGNORED_LABEL)
