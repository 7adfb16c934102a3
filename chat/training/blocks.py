"""Dialogues as training sequences: rendered, joined, cut, labelled where the assistant speaks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from chat.rendering import render_dialogue
from chat.training.data import Dialogue
from engine.api import Message
from engine.tokenizer import Tokenizer

IGNORED = -100
"""A label that no loss is computed for, in torch's cross entropy."""


@dataclass(frozen=True, slots=True)
class Block:
    """One sequence."""

    ids: list[int]
    labels: list[int]
    """The same ids where the assistant speaks, IGNORED elsewhere; the model shifts them itself."""


def blocks(
    dialogues: Iterable[Dialogue], tokenizer: Tokenizer, size: int, system: str = ""
) -> list[Block]:
    """Return dialogues joined and cut to `size` tokens, the rest dropped; ChatML throughout.

    A block in which the assistant says nothing teaches nothing and is left out. The published
    script masks after it has joined, by a function that it hands a list of blocks, and so masks
    nothing (bigcode-project/starcoder, chat/train.py); here ids and labels are made together.
    """
    ids: list[int] = []
    labels: list[int] = []
    made: list[Block] = []
    for dialogue in dialogues:
        turns = (
            dialogue
            if dialogue[0].role == "system" or not system
            else (Message("system", system), *dialogue)
        )
        encoded = render_dialogue(turns, tokenizer, format_name="chatml")
        ids += encoded.ids
        labels += [
            id_ if learned else IGNORED
            for id_, learned in zip(encoded.ids, encoded.loss_mask, strict=True)
        ]
        while len(ids) >= size:
            made.append(Block(ids[:size], labels[:size]))
            ids, labels = ids[size:], labels[size:]
    if not made and ids:
        made.append(Block(ids, labels))
    return [one for one in made if any(label != IGNORED for label in one.labels)]
