"""Inputs and labels of a training step, and how much each label counts in the loss."""

from __future__ import annotations

from dataclasses import dataclass

import tokenizers
import torch
from torch import Tensor
from torch.nn import functional

from training.packing import PAD
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
class LabelWeights:
    """Weights of the labels in the loss."""

    middle: float = 1.0
    """Loss weight of the tokens after `<fim_middle>`; other tokens have weight 1."""
    opening: float = 1.0
    """Weight of the first `NUM_OPENING_TOKENS` of these tokens."""
    role_tokens: RoleTokens = RoleTokens()


def inputs_and_labels(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return int64 inputs and labels of equal shape for sequences of token ids as int16 bits.

    torch has few operations on unsigned integers, so the ids come as signed ones with the same
    bits. The last token and padding have no label.
    """
    ids = rows.long() & 0xFFFF
    is_padding = ids == int(PAD)
    labels = ids.masked_fill(is_padding, IGNORED_LABEL)[:, 1:]
    return ids.masked_fill(is_padding, 0), functional.pad(labels, (0, 1), value=IGNORED_LABEL)


def label_weights(inputs: Tensor, labels: Tensor, options: LabelWeights) -> Tensor:
    """Return the weight of each label, (batch, length); padding has weight 0.

    A label is in a middle if, up to its input, `<fim_middle>` came after the last
    `<|endoftext|>`. It is in a message of the system or the user, which has weight 0, if their
    token came after the last `<|assistant|>` or `<|endoftext|>`.
    """

    def last_position(*ids: int) -> Tensor:
        is_match = torch.zeros_like(inputs, dtype=torch.bool)
        for id_ in ids:
            is_match |= inputs == id_
        return torch.where(is_match, positions, -1).cummax(1).values

    positions = torch.arange(inputs.shape[1], device=inputs.device).expand_as(inputs)
    tokens = options.role_tokens
    middle, end = last_position(tokens.middle), last_position(tokens.end)
    is_opening = positions - middle < NUM_OPENING_TOKENS
    weights = torch.where(is_opening, options.opening, options.middle)
    weights = torch.where(middle > end, weights, 1.0)
    is_other = last_position(*tokens.others) > last_position(tokens.assistant, tokens.end)
    return weights * ~is_other * (labels != IGNORED_LABEL)
