"""Schedulers for tests, and the output that a request has alone."""

from dataclasses import replace
from typing import Any

import torch

from benchmarks.stepped_scheduler import SteppedScheduler, Submission, text_of
from engine.api import Chunk, GenerationRequest
from engine.loading.load import Loaded
from engine.network.lean_forward import LeanForward

WINDOW = 512


def stepped(loaded: Loaded, **fields: Any) -> SteppedScheduler:
    model = replace(loaded.model, **fields)
    return SteppedScheduler(model, adapter_of=loaded.adapters.get)


def run_plain(loaded: Loaded, request: GenerationRequest) -> list[Chunk]:
    """Run one request without other requests, prefix cache, drafts and kernels."""
    forward = loaded.model.forward
    assert isinstance(forward, LeanForward)
    scheduler = stepped(loaded, forward=LeanForward(forward.weights))
    return scheduler.run(replace(request, draft_tokens=()))


def check(loaded: Loaded, submission: Submission) -> None:
    """Check that a submission has the output that it has alone."""
    expected = run_plain(loaded, submission.request)
    assert not submission.errors
    assert submission.ids == [id_ for chunk in expected for id_ in chunk.ids]
    assert text_of(submission.chunks) == text_of(expected)
    reasons = [chunk.finish for chunk in submission.chunks]
    assert reasons[-1] == expected[-1].finish
    assert reasons[:-1] == [None] * (len(reasons) - 1)


def ids(seed: int, count: int) -> tuple[int, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(30, 360, (count,), generator=generator).tolist())
