"""A request that is invalid, fails or is dropped ends, and the others go on."""

from collections.abc import Sequence

import pytest
import torch

from engine.api import GenerationRequest
from engine.errors import OutOfMemoryError, PromptTooLongError, RequestError, StarcoderError
from engine.loading.load import Loaded
from engine.network.batch import BatchEntry
from engine.network.forward import Forward
from engine.scheduling.job import EndOfStream
from tests.engine.scheduling.harness import WINDOW, check, ids, run_plain, stepped
from tests.engine.wrapped_forward import WrappedForward


def test_an_invalid_request_is_refused_and_others_go_on(loaded: Loaded) -> None:
    scheduler = stepped(loaded)
    good = scheduler.submit(GenerationRequest(ids(1, 20), 12))
    invalid = [
        (PromptTooLongError, GenerationRequest(ids(2, WINDOW), 5)),
        (RequestError, GenerationRequest((10**6,), 5)),
        (RequestError, GenerationRequest(ids(3, 5), 5, adapter="nobody")),
        (RequestError, GenerationRequest(ids(3, 5), 5, forced_prefix="\ud83d")),
    ]
    refused = [(error, scheduler.submit(request)) for error, request in invalid]
    scheduler.finish()
    check(loaded, good)
    for error, submission in refused:
        assert [type(each) for each in submission.errors] == [error]
        assert submission.done
    assert scheduler.metrics.requests == 1


class Poisoned(WrappedForward):
    """A forward pass that fails for sequences with a certain token."""

    def __init__(self, forward: Forward, poison: int, error: Exception) -> None:
        super().__init__(forward)
        self._poison, self._error = poison, error

    def before(self, batch: Sequence[BatchEntry]) -> None:
        if any(self._poison in (*entry.cache.ids, *entry.ids) for entry in batch):
            raise self._error


@pytest.mark.parametrize(
    ("planted", "expected"),
    [
        (torch.OutOfMemoryError("planted"), OutOfMemoryError),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), OutOfMemoryError),
        (RuntimeError("the user's code"), StarcoderError),
    ],
)
def test_a_failing_request_fails_alone(
    loaded: Loaded, planted: Exception, expected: type[Exception]
) -> None:
    requests = [GenerationRequest(ids(seed, 20), 12) for seed in range(3)]
    outputs = [run_plain(loaded, request) for request in requests]
    written = {id_ for chunks in outputs for chunk in chunks for id_ in chunk.ids}
    poison = next(id_ for id_ in range(20, 30) if id_ not in written)
    scheduler = stepped(loaded, forward=Poisoned(loaded.model.forward, poison, planted))
    good = [scheduler.submit(request) for request in requests]
    bad = scheduler.submit(GenerationRequest((*ids(5, 10), poison), 12))
    scheduler.finish()
    for submission in good:
        check(loaded, submission)
    assert [type(error) for error in bad.errors] == [expected]
    assert "the user's code" not in str(bad.errors[0])


class ShortOfMemory(WrappedForward):
    """A forward pass that runs out of memory while `is_short` returns True."""

    def __init__(self, forward: Forward) -> None:
        super().__init__(forward)
        self.is_short = lambda: False

    def before(self, batch: Sequence[BatchEntry]) -> None:
        if self.is_short():
            raise torch.OutOfMemoryError("planted")


def test_idle_caches_are_freed_before_a_request_fails(loaded: Loaded) -> None:
    forward = ShortOfMemory(loaded.model.forward)
    scheduler = stepped(loaded, forward=forward)
    scheduler.submit(GenerationRequest(ids(1, 100), 5))
    scheduler.finish()
    pool = scheduler.scheduler.pool
    assert pool.idle
    forward.is_short = lambda: bool(pool.idle)
    submission = scheduler.submit(GenerationRequest(ids(2, 40), 5))
    scheduler.finish()
    check(loaded, submission)


def test_draining_ends_every_request(loaded: Loaded) -> None:
    scheduler = stepped(loaded)
    for seed in range(20):  # more than may run at a time
        scheduler.submit(GenerationRequest(ids(seed, 10), 100))
    scheduler.step()
    assert not any(submission.done for submission in scheduler.submissions)
    scheduler.scheduler.drain()
    for submission in scheduler.submissions:
        assert submission.done
        assert submission.events.count(EndOfStream()) == 1
        assert not submission.errors
