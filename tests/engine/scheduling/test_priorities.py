"""Completions, chats and prefetches share the engine without blocking each other."""

from engine.api import GenerationRequest, Priority
from engine.loading.load import Loaded
from tests.engine.costs import FixedCosts
from tests.engine.scheduling.harness import check, ids, stepped


def test_a_long_prefill_does_not_block_other_requests(loaded: Loaded) -> None:
    # At these costs a prefill chunk has the minimum size.
    costs = FixedCosts({1: 1.0, 16: 30.0, 512: 900.0})
    scheduler = stepped(loaded, costs=costs)
    long = scheduler.submit(GenerationRequest(ids(1, 480), 5, priority=Priority.CHAT))
    quick = scheduler.submit(GenerationRequest(ids(2, 10), 12))
    for _ in range(14):
        scheduler.step()
    assert quick.done
    assert not long.events
    scheduler.finish()
    check(loaded, long)
    check(loaded, quick)


def test_chats_go_on_while_other_users_type(loaded: Loaded) -> None:
    scheduler = stepped(loaded)
    chat = scheduler.submit(GenerationRequest(ids(1, 300), 20, priority=Priority.CHAT))
    for seed in range(400):
        completions = [
            submission
            for submission in scheduler.submissions
            if submission.request.priority is Priority.COMPLETION
        ]
        if all(submission.done for submission in completions):
            scheduler.submit(GenerationRequest(ids(seed, 30), 8))
        scheduler.step()
        if chat.done:
            break
    assert chat.done
    check(loaded, chat)


def test_a_prefetch_waits_for_all_other_requests(loaded: Loaded) -> None:
    scheduler = stepped(loaded)
    request = GenerationRequest(ids(1, 20), 30, priority=Priority.PREFETCH)
    prefetch = scheduler.submit(request)
    for _ in range(3):
        scheduler.step()
    before = len(prefetch.ids)
    completion = scheduler.submit(GenerationRequest(ids(2, 20), 10))
    while not completion.done:
        scheduler.step()
    assert len(prefetch.ids) == before
    scheduler.finish()
    check(loaded, prefetch)


def test_a_prefetch_is_prefilled_in_small_chunks(loaded: Loaded) -> None:
    """A completion that arrives meanwhile then waits for a small chunk only."""
    costs = FixedCosts({size: float(size) for size in (1, 32, 128, 512)})
    scheduler = stepped(loaded, costs=costs)
    scheduler.submit(GenerationRequest(ids(1, 120), 2, priority=Priority.PREFETCH))
    scheduler.step()
    assert scheduler.metrics.computed_tokens <= 32
    completion = scheduler.submit(GenerationRequest(ids(2, 20), 2))
    while not completion.done:
        scheduler.step()
    scheduler.finish()
