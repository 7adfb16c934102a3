"""Logits of several sequences are read as those of each alone, on the CPU and on a device."""

from typing import Any

import pytest
import torch
from torch import Tensor

from engine.api import Sampling
from engine.decoding.logits_reader import (
    LogitsRequest,
    concatenated,
    read_logits,
    read_on_cpu,
    read_on_gpu,
)
from engine.decoding.sampler import Sampler


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))) * 3


def test_rows_of_several_sequences_are_read_as_each_alone() -> None:
    sampler = Sampler(Sampling(temperature=1.0, seed=5), ())
    whole = random(40, 50)
    parts = [*torch.split(whole, [1, 3, 34, 2]), random(2, 60), random(1, 50)]
    requests = [
        LogitsRequest(),
        LogitsRequest(0),
        LogitsRequest(3, forced_ids=tuple(range(33))),
        None,
        LogitsRequest(2),
        LogitsRequest(0, sampler, 4),
    ]
    results = read_logits(parts, requests)
    for logits, request, choices in zip(parts, requests, results, strict=True):
        assert choices.logits is logits
        if request is None:
            assert not choices.ids
            continue
        ids = logits.argmax(-1).tolist()
        if request.forced_ids is not None:
            ids = list(request.forced_ids)
        if request.sampler is not None:
            ids = sampler.choose(logits, 4, ()).tolist()
        assert list(choices.ids) == ids
        assert len(choices.logprobs) == (0 if request.num_top is None else len(ids))
        for row, logprob in enumerate(choices.logprobs):
            log_probs = logits[row].log_softmax(-1)
            assert logprob.id == ids[row]
            assert logprob.logprob == float(log_probs[logprob.id])
            top = log_probs.topk(request.num_top or 0)
            expected = zip(top.indices.tolist(), top.values.tolist(), strict=True)
            assert logprob.top == tuple(expected)


@pytest.mark.parametrize("read", [read_on_cpu, read_on_gpu])
def test_there_are_no_more_alternatives_than_tokens_in_the_vocabulary(read: Any) -> None:
    result = read([random(2, 5)], [LogitsRequest(9)])
    assert [sorted(id_ for id_, _ in row) for row in result.top] == [[*range(5)]] * 2


@pytest.mark.parametrize("num_top", [None, 0, 4])
def test_a_device_gives_the_same_result_as_the_cpu(num_top: int | None) -> None:
    parts = [random(2, 50), random(35, 50), random(3, 50)]
    sampler = Sampler(Sampling(temperature=1.0, top_k=9, seed=5), ())
    requests = [
        LogitsRequest(num_top),
        LogitsRequest(num_top, forced_ids=tuple(range(35))),
        LogitsRequest(num_top, sampler, 1),
    ]
    result, start = read_on_gpu(parts, requests), 0
    for logits, choices in zip(parts, read_logits(parts, requests), strict=True):
        end = start + len(logits)
        assert result.ids[start:end] == list(choices.ids)
        if num_top is not None:
            scores = [logprob.logprob for logprob in choices.logprobs]
            assert result.scores[start:end] == scores
        if num_top:
            top = [logprob.top for logprob in choices.logprobs]
            assert [tuple(row) for row in result.top[start:end]] == top
        start = end


def test_adjacent_pieces_of_a_tensor_are_concatenated_without_a_copy() -> None:
    whole = random(10, 8)
    pieces = torch.split(whole[2:], [1, 4, 3])
    assert concatenated(pieces).data_ptr() == whole[2:].data_ptr()
    for parts in ([whole[:2], whole[3:]], [whole[2:], whole[:2]], [random(2, 8), random(3, 8)]):
        assert torch.equal(concatenated(parts), torch.cat(parts))
