"""Training blocks: dialogues as ids of a fixed length, with labels for the assistant's messages."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from chat.training.data import Dialogue
from chat.training.dialogue_format import DialogueFormat
from engine.api import Message

IGNORED_LABEL = -100
"""Label that torch's cross entropy computes no loss for."""


@dataclass(frozen=True, slots=True)
class TrainingBlock:
    """One training sequence."""

    ids: list[int]
    """Token ids of the sequence."""
    labels: list[int]
    """The ids in the assistant's messages, `IGNORED_LABEL` elsewhere; the model shifts them."""


def build_blocks(
    dialogues: Iterable[Dialogue], dialogue_format: DialogueFormat, size: int, system: str = ""
) -> list[TrainingBlock]:
    """Join dialogues in a format and cut them into blocks of `size` tokens.

    The rest after the last whole block is dropped, unless it is the only block. Blocks without a
    label are dropped too.

    The published script (bigcode-project/starcoder, chat/train.py) masks after joining. Its
    function expects one sequence but gets a list of blocks, so it masks nothing. Here ids and
    labels are built together.
    """
    ids: list[int] = []
    labels: list[int] = []
    blocks: list[TrainingBlock] = []
    for dialogue in dialogues:
        has_system = dialogue[0].role == "system"
        messages = dialogue if has_system or not system else (Message("system", system), *dialogue)
        encoded = dialogue_format.render_dialogue(tuple(messages))
        ids += encoded.ids
        labels += [
            id_ if is_learned else IGNORED_LABEL
            for id_, is_learned in zip(encoded.ids, encoded.loss_mask, strict=True)
        ]
        while len(ids) >= size:
            blocks.append(TrainingBlock(ids[:size], labels[:size]))
            ids, labels = ids[size:], labels[size:]
    if not blocks and ids:
        blocks.append(TrainingBlock(ids, labels))
    return [block for block in blocks if any(label != IGNORED_LABEL for label in block.labels)]
