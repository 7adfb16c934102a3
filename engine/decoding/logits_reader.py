"""Reads the logits of a step: the chosen tokens and their log-probabilities, for all sequences.

On a GPU everything is computed there and copied to the host once, because each copy waits for all
work that the device has queued.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from engine.api import TokenLogprob
from engine.decoding.mixture import Mixer
from engine.decoding.sampler import Sampler

_CHUNK_ROWS = 32
"""Number of rows whose log-probabilities are computed together, to bound the memory for a
prompt."""


class LogitsRequest(NamedTuple):
    """The values that a sequence needs from the logits of its step."""

    num_top: int | None = None
    """Number of likeliest alternatives to report per token; None for no log-probabilities."""
    sampler: Sampler | None = None
    """Sampler that chooses the tokens; None for argmax of the raw logits."""
    position: int = 0
    """Position in the output of the token that the first row chooses."""
    draft_tokens: tuple[int, ...] = ()
    """The draft tokens before the further rows, one more for each row."""
    forced_ids: tuple[int, ...] | None = None
    """Ids of the first rows, if none are to be chosen and only log-probabilities are needed."""

    mixer: Mixer | None = None
    """What mixes the project's text into the logits first; None for the model alone."""

    @property
    def is_argmax(self) -> bool:
        """Whether the likeliest token of each row is to be chosen."""
        return self.sampler is None and self.forced_ids is None


class TokenChoices(NamedTuple):
    """The logits of a sequence's step and what was read from them."""

    logits: Tensor
    """Logits (num_logits, vocab) in float32, valid until the next step."""
    ids: Sequence[int] = ()
    """The chosen id of each row, if requested."""
    logprobs: Sequence[TokenLogprob] = ()
    """The log-probability of each row's id, if requested."""


@dataclass(slots=True)
class _HostResult:
    """Results for rows of several sequences, in main memory."""

    ids: list[int]
    scores: list[float] = field(default_factory=list)
    """Log-probability of each id."""
    top: list[list[tuple[int, float]]] = field(default_factory=list)
    """(id, log-probability) of each row's likeliest tokens, best first."""


def read_logits(
    logits: Sequence[Tensor], requests: Sequence[LogitsRequest | None]
) -> list[TokenChoices]:
    """Return what each request needs from the logits (num_logits, vocab) of its sequence.

    Where a request has a mixer, the logits become those of the mixture.
    """
    for rows, request in zip(logits, requests, strict=True):
        if request is not None and request.mixer is not None:
            request.mixer.mix(rows, request.draft_tokens, is_greedy=request.is_argmax)
    if len(logits) == 1:
        choices = _read_argmax_on_cpu(logits[0], requests[0])
        if choices is not None:
            return [choices]
    results = [TokenChoices(rows) for rows in logits]
    groups: dict[int, list[tuple[int, LogitsRequest]]] = {}
    for index, request in enumerate(requests):
        if request is not None:
            # Rows are wider with an adapter that adds tokens.
            groups.setdefault(logits[index].shape[-1], []).append((index, request))
    for group in groups.values():
        group_logits = [logits[index] for index, _ in group]
        group_choices = _read_group(group_logits, [request for _, request in group])
        for (index, _), choices in zip(group, group_choices, strict=True):
            results[index] = choices
    return results


def _read_argmax_on_cpu(logits: Tensor, request: LogitsRequest | None) -> TokenChoices | None:
    """Fast path for one greedy request on a CPU; None if it does not apply.

    A step of a small model takes a millisecond, so each further call counts.
    """
    if request is None or not request.is_argmax or request.num_top or not logits.is_cpu:
        return None
    ids = logits.numpy().argmax(-1).tolist()
    if request.num_top is None:
        return TokenChoices(logits, ids)
    scores = logits.log_softmax(-1).numpy()
    return TokenChoices(
        logits, ids, [TokenLogprob(id_, scores.item(row, id_)) for row, id_ in enumerate(ids)]
    )


def _read_group(logits: Sequence[Tensor], requests: Sequence[LogitsRequest]) -> list[TokenChoices]:
    """Read the logits of sequences whose rows have the same width."""
    rows = [
        sequence_logits
        if request.forced_ids is None
        else sequence_logits[: len(request.forced_ids)]
        for sequence_logits, request in zip(logits, requests, strict=True)
    ]
    result = read_on_cpu(rows, requests) if rows[0].is_cpu else read_on_gpu(rows, requests)
    choices, start = [], 0
    for sequence_logits, sequence_rows, request in zip(logits, rows, requests, strict=True):
        end = start + len(sequence_rows)
        choices.append(_token_choices(sequence_logits, request, result, start, end))
        start = end
    return choices


def _token_choices(
    logits: Tensor, request: LogitsRequest, result: _HostResult, start: int, end: int
) -> TokenChoices:
    """Return the part of a result that belongs to one sequence."""
    ids, num_top = result.ids[start:end], request.num_top
    if num_top is None:
        return TokenChoices(logits, ids)
    scores = result.scores[start:end]
    if num_top == 0:
        return TokenChoices(logits, ids, list(map(TokenLogprob, ids, scores)))
    top = [tuple(row[:num_top]) for row in result.top[start:end]]
    return TokenChoices(logits, ids, list(map(TokenLogprob, ids, scores, top)))


def _max_top(requests: Sequence[LogitsRequest], vocab: int) -> int | None:
    """Return the largest requested number of alternatives, None for no log-probabilities."""
    sizes = [request.num_top for request in requests if request.num_top is not None]
    return min(max(sizes), vocab) if sizes else None


def concatenated(tensors: Sequence[Tensor]) -> Tensor:
    """Return tensors (any, width) as one. They are copied only if they are not adjacent pieces."""
    first = tensors[0]
    if len(tensors) == 1:
        return first
    end, storage = first.data_ptr(), first.untyped_storage().data_ptr()
    for tensor in tensors:
        is_same_storage = tensor.untyped_storage().data_ptr() == storage
        if not (is_same_storage and tensor.data_ptr() == end and tensor.is_contiguous()):
            return torch.cat(list(tensors))
        end += tensor.numel() * tensor.element_size()
    num_rows = sum(len(tensor) for tensor in tensors)
    return first.as_strided((num_rows, first.shape[1]), first.stride())


def read_on_cpu(rows: Sequence[Tensor], requests: Sequence[LogitsRequest]) -> _HostResult:
    """Read rows of equal width on the CPU, with as few and as fast calls as possible."""
    logits = concatenated(rows)
    if all(request.is_argmax for request in requests):
        # numpy's argmax takes a fifth of the time of torch's.
        ids = logits.numpy().argmax(-1).tolist()
    else:
        ids = [
            id_
            for sequence_rows, request in zip(rows, requests, strict=True)
            for id_ in _choose_on_cpu(sequence_rows, request)
        ]
    result = _HostResult(ids)
    num_top = _max_top(requests, logits.shape[-1])
    if num_top is None:
        return result
    chunks = [logits] if len(logits) <= _CHUNK_ROWS else torch.split(logits, _CHUNK_ROWS)
    for chunk in chunks:
        log_probs = chunk.log_softmax(-1)
        values = log_probs.numpy()
        chunk_ids = ids[len(result.scores) :][: len(chunk)]
        result.scores += [values.item(row, id_) for row, id_ in enumerate(chunk_ids)]
        if num_top:
            top = log_probs.topk(num_top)
            pairs = zip(top.indices.tolist(), top.values.tolist(), strict=True)
            result.top += [list(zip(*pair, strict=True)) for pair in pairs]
    return result


def _choose_on_cpu(logits: Tensor, request: LogitsRequest) -> Sequence[int]:
    if request.forced_ids is not None:
        return request.forced_ids
    if request.sampler is None:
        likeliest: list[int] = logits.numpy().argmax(-1).tolist()
        return likeliest
    sampled = request.sampler.choose(logits, request.position, request.draft_tokens)
    ids: list[int] = sampled.tolist()
    return ids


def read_on_gpu(rows: Sequence[Tensor], requests: Sequence[LogitsRequest]) -> _HostResult:
    """Read rows of equal width on their device and copy the result to the host once."""
    logits = concatenated(rows)
    if all(request.is_argmax for request in requests):
        ids = logits.argmax(-1)
    else:
        choices = zip(rows, requests, strict=True)
        ids = torch.cat([_choose_on_gpu(*choice) for choice in choices])
    num_top = _max_top(requests, logits.shape[-1])
    if num_top is None:
        return _HostResult(ids.tolist())
    chunks = zip(torch.split(logits, _CHUNK_ROWS), torch.split(ids, _CHUNK_ROWS), strict=True)
    table = torch.cat([_result_table(*chunk, num_top) for chunk in chunks])
    lines: list[list[float]] = table.tolist()
    return _HostResult(
        [int(line[0]) for line in lines],
        [line[1] for line in lines],
        [
            list(zip(map(int, line[2 : 2 + num_top]), line[2 + num_top :], strict=True))
            for line in lines
        ],
    )


def _choose_on_gpu(logits: Tensor, request: LogitsRequest) -> Tensor:
    if request.forced_ids is not None:
        return torch.tensor(request.forced_ids).to(logits.device, non_blocking=True)
    if request.sampler is None:
        return logits.argmax(-1)
    return request.sampler.choose(logits, request.position, request.draft_tokens)


def _result_table(logits: Tensor, ids: Tensor, num_top: int) -> Tensor:
    """Return a line per row: id, its log-probability, top ids, their log-probabilities.

    The table is in float32, which represents ids below 2^24 exactly.
    """
    log_probs, index = logits.log_softmax(-1), ids[:, None]
    columns = [index.float(), log_probs.gather(-1, index)]
    if num_top:
        top = log_probs.topk(num_top)
        columns += [top.indices.float(), top.values]
    return torch.cat(columns, -1)
