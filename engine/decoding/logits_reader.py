"""Reading a step's logits: what was chosen and how likely it was, for all answers at once.

On a GPU everything is worked out there and comes to the host in one copy: each one more would wait
for a device that has work in its queue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from engine.api import TokenLogprob
from engine.decoding.sampler import Sampler

_ROWS_AT_ONCE = 32
"""Whose log-probabilities are made together: those of a whole prompt would take much memory."""


class Choice(NamedTuple):
    """How an answer wants the logits of its step read."""

    top: int | None = None
    """Likeliest alternatives to report beside each id; None for no log-probabilities at all."""
    sampler: Sampler | None = None
    """None for what takes the likeliest."""
    at: int = 0
    """Place in the answer of the id that the first row chooses."""
    guess: tuple[int, ...] = ()
    """What each further row comes after."""
    given: tuple[int, ...] | None = None
    """Ids of the first rows, where none are to be chosen but these to be looked at."""

    @property
    def greedy(self) -> bool:
        """Whether the likeliest are to be taken."""
        return self.sampler is None and self.given is None


class Reading(NamedTuple):
    """The logits of an answer's step, and what was read of them."""

    logits: Tensor
    """(last, vocab) in float32; defined until the next step is computed."""
    ids: Sequence[int] = ()
    """One a row, if a choice was asked for."""
    logprobs: Sequence[TokenLogprob] = ()
    """One a row, if they were asked for."""


@dataclass(slots=True)
class _Told:
    """What is known of rows, on the host."""

    ids: list[int]
    scores: list[float] = field(default_factory=list)
    best: list[list[tuple[int, float]]] = field(default_factory=list)


def read(found: Sequence[Tensor], choices: Sequence[Choice | None]) -> list[Reading]:
    """Return what is asked of the logits (last, vocab) of each answer."""
    if len(found) == 1:
        alone = _read_one_here(found[0], choices[0])
        return _read_group(found, choices) if alone is None else [alone]
    made = [Reading(logits) for logits in found]
    groups: dict[int, list[int]] = {}
    for index, choice in enumerate(choices):
        if choice is not None:
            # An adapter with tokens of its own makes wider rows.
            groups.setdefault(found[index].shape[-1], []).append(index)
    for group in groups.values():
        of_group = _read_group([found[at] for at in group], [choices[at] for at in group])
        for index, reading in zip(group, of_group, strict=True):
            made[index] = reading
    return made


def _read_one_here(logits: Tensor, choice: Choice | None) -> Reading | None:
    """Do the same for what most steps are, with nothing around it; None for what is another.

    A small model's step takes a millisecond, and each call beside it counts.
    """
    if choice is None or choice.sampler is not None or choice.given is not None or choice.top:
        return None
    if not logits.is_cpu:
        return None
    ids = logits.numpy().argmax(-1).tolist()
    if choice.top is None:
        return Reading(logits, ids)
    scores = logits.log_softmax(-1).numpy()
    return Reading(
        logits, ids, [TokenLogprob(id_, scores.item(row, id_)) for row, id_ in enumerate(ids)]
    )


def _read_group(found: Sequence[Tensor], choices: Sequence[Choice | None]) -> list[Reading]:
    asked = [choice for choice in choices if choice is not None]
    if not asked:
        return [Reading(logits) for logits in found]
    rows = [_rows(*one) for one in zip(found, asked, strict=True)]
    tell = _tell_here if rows[0].is_cpu else tell_from_device
    told, start, made = tell(rows, asked), 0, []
    for logits, choice, one in zip(found, asked, rows, strict=True):
        end = start + len(one)
        made.append(_reading(logits, choice, told, start, end))
        start = end
    return made


def _rows(logits: Tensor, choice: Choice) -> Tensor:
    return logits if choice.given is None else logits[: len(choice.given)]


def _reading(logits: Tensor, choice: Choice, told: _Told, start: int, end: int) -> Reading:
    ids, top = told.ids[start:end], choice.top
    if top is None:
        return Reading(logits, ids)
    scores = zip(ids, told.scores[start:end], strict=True)
    if top == 0:
        return Reading(logits, ids, [TokenLogprob(*one) for one in scores])
    best = [tuple(of_row[:top]) for of_row in told.best[start:end]]
    return Reading(
        logits, ids, [TokenLogprob(*one, most) for one, most in zip(scores, best, strict=True)]
    )


def _most(choices: Sequence[Choice], vocab: int) -> int | None:
    """Return how many alternatives are asked for at most, None for no log-probabilities."""
    asked = [choice.top for choice in choices if choice.top is not None]
    return min(max(asked), vocab) if asked else None


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Return tensors (any, width) as one; copied only if they are not the pieces of one."""
    first = parts[0]
    if len(parts) == 1:
        return first
    end, storage = first.data_ptr(), first.untyped_storage().data_ptr()
    for one in parts:
        same = one.untyped_storage().data_ptr() == storage
        if not (same and one.data_ptr() == end and one.is_contiguous()):
            return torch.cat(list(parts))
        end += one.numel() * one.element_size()
    return first.as_strided((sum(len(one) for one in parts), first.shape[1]), first.stride())


# On the host there is nothing to wait for: the fewest and quickest calls count.


def _tell_here(found: Sequence[Tensor], choices: Sequence[Choice]) -> _Told:
    logits = joined(found)
    if all(choice.greedy for choice in choices):
        # numpy's takes a fifth of the time that torch's does.
        told = _Told(logits.numpy().argmax(-1).tolist())
    else:
        told = _Told([id_ for one in zip(found, choices, strict=True) for id_ in _ids(*one)])
    most = _most(choices, logits.shape[-1])
    if most is None:
        return told
    parts = [logits] if len(logits) <= _ROWS_AT_ONCE else torch.split(logits, _ROWS_AT_ONCE)
    for rows in parts:
        scores = rows.log_softmax(-1)
        values = scores.numpy()
        ids = told.ids[len(told.scores) :][: len(rows)]
        told.scores += [values.item(row, id_) for row, id_ in enumerate(ids)]
        if most:
            best = scores.topk(most)
            told.best += _pairs(best.indices.tolist(), best.values.tolist())
    return told


def _ids(logits: Tensor, choice: Choice) -> Sequence[int]:
    if choice.given is not None:
        return choice.given
    if choice.sampler is None:
        found: list[int] = logits.numpy().argmax(-1).tolist()
        return found
    chosen: list[int] = choice.sampler.choose(logits, choice.at, choice.guess).tolist()
    return chosen


def _pairs(ids: list[list[int]], scores: list[list[float]]) -> list[list[tuple[int, float]]]:
    return [list(zip(*one, strict=True)) for one in zip(ids, scores, strict=True)]


# On a device everything is put in line first, and waited for once.


def tell_from_device(found: Sequence[Tensor], choices: Sequence[Choice]) -> _Told:
    """Return what is asked of the rows of each answer, all of one width, in one copy."""
    logits = joined(found)
    if all(choice.greedy for choice in choices):
        ids = logits.argmax(-1)
    else:
        ids = torch.cat([_device_ids(*one) for one in zip(found, choices, strict=True)])
    most = _most(choices, logits.shape[-1])
    if most is None:
        return _Told(ids.tolist())
    parts = zip(torch.split(logits, _ROWS_AT_ONCE), torch.split(ids, _ROWS_AT_ONCE), strict=True)
    table = torch.cat([_table(rows, of_rows, most) for rows, of_rows in parts])
    lines: list[list[float]] = table.tolist()
    return _Told(
        [int(line[0]) for line in lines],
        [line[1] for line in lines],
        [list(zip(map(int, line[2 : 2 + most]), line[2 + most :], strict=True)) for line in lines],
    )


def _device_ids(logits: Tensor, choice: Choice) -> Tensor:
    if choice.given is not None:
        return torch.tensor(choice.given).to(logits.device, non_blocking=True)
    if choice.sampler is None:
        return logits.argmax(-1)
    return choice.sampler.choose(logits, choice.at, choice.guess)


def _table(logits: Tensor, ids: Tensor, most: int) -> Tensor:
    """Return a line for each row: id, its log-probability, the likeliest ids, theirs.

    In float32, which holds ids below 2^24 exactly.
    """
    scores, wanted = logits.log_softmax(-1), ids[:, None]
    columns = [wanted.float(), scores.gather(-1, wanted)]
    if most:
        best = scores.topk(most)
        columns += [best.indices.float(), best.values]
    return torch.cat(columns, -1)
