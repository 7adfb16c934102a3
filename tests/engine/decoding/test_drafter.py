"""Drafts are what stood there before, and change nothing of an answer but its speed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.api import GenerationRequest, Sampling, Usage
from engine.decoding.drafter import Drafter
from engine.errors import RequestError
from engine.kv_cache.cache import KVCache
from engine.loading.load import Loaded, load
from engine.network.step_costs import StepCosts
from engine.settings import EngineSettings


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ([1, 2, 3, 4, 5, 1, 2], (3, 4, 5, 1, 2)),
        ([7, 1, 2, 8, 1, 2, 9, 1, 2], (9, 1, 2)),  # the nearest place
        (
            [5, 1, 2, 3, 6, 1, 2, 4, 5, 1, 2],
            (3, 6, 1, 2, 4, 5, 1, 2),
        ),  # a longer match before a nearer one
        ([1, 2, 3], ()),
        ([1], ()),
        ([3, 3, 3, 3], (3,)),
        ([256, 1, 0, 256, 1], (0, 256, 1)),  # no match across the bytes of ids
        ([65536, 256, 1, 0], ()),
    ],
)
def test_what_followed_the_last_ids_before_is_proposed(
    prompt: list[int], expected: tuple[int, ...]
) -> None:
    free = costs_of({1: 10.0, 32: 10.0})
    assert Drafter(prompt, costs=free).propose(9) == expected


def test_nothing_is_guessed_behind_where_the_answer_would_end() -> None:
    drafter = Drafter([1, 2, 3, 4, 5, 1, 2], costs=costs_of({1: 10.0, 32: 10.0}))
    assert drafter.propose(9, lambda id_: id_ == 4) == (3, 4)
    assert drafter.drafted == 2


@given(
    prompt=st.lists(st.integers(0, 3), max_size=30),
    added=st.lists(st.integers(0, 3), max_size=9),
    most=st.integers(0, 12),
)
def test_a_proposal_is_always_from_what_is_there(
    prompt: list[int], added: list[int], most: int
) -> None:
    drafter = Drafter(prompt)
    for id_ in added:
        drafter.add(id_)
    whole = [*prompt, *added]
    found = list(drafter.propose(most))
    assert len(found) <= most
    if found:
        follows = [
            whole[at : at + len(found)]
            for at in range(2, len(whole))
            if whole[at - 2 : at] == whole[-2:]
        ]
        assert found in follows
    elif most:
        assert all(whole[at - 2 : at] != whole[-2:] for at in range(2, len(whole)))


def lengths(costs: StepCosts, right: list[bool]) -> list[int]:
    """How many ids are guessed each time, when all of the last guess were right, or none."""
    drafter, found = Drafter([*range(40), 0, 1], costs=costs), []
    for all_right in [*right, False]:
        guess = drafter.propose(99)
        found.append(len(guess))
        drafter.judge(len(guess), len(guess) if all_right else 0)
    assert drafter.drafted == sum(found)
    return found


def costs_of(milliseconds: dict[int, float]) -> StepCosts:
    costs = StepCosts()
    for ids, took in milliseconds.items():
        costs.learn(ids, took)
    return costs


FLAT = {1: 10.0, 4: 10.5, 8: 11.0, 16: 12.0, 32: 14.0}
STEEP = {1: 10.0, 2: 20.0, 4: 40.0, 8: 80.0, 16: 160.0, 32: 320.0}


def test_guesses_grow_while_they_are_right_and_shrink() -> None:
    grown = lengths(costs_of(FLAT), [True] * 4)
    assert grown == sorted(grown)
    assert grown[-1] > grown[0] > 0
    shrunk = lengths(costs_of(FLAT), [False] * 10)
    assert shrunk == sorted(shrunk, reverse=True)
    assert shrunk[-1] < shrunk[0] / 2


def test_nothing_is_guessed_where_a_pass_costs_what_its_ids_do() -> None:
    assert lengths(costs_of(STEEP), [True]) == [0, 0]


def test_what_was_wrong_often_is_tried_again_after_a_while() -> None:
    costs = costs_of({1: 10.0, 2: 12.0, 4: 16.0, 8: 24.0, 16: 40.0, 32: 72.0})
    found = lengths(costs, [False] * 60)
    first_none = found.index(0)
    assert any(found[first_none:])
    assert found.count(0) > 30


def test_guesses_are_shorter_where_others_fill_the_pass() -> None:
    costs = costs_of({1: 10.0, 2: 10.0, 4: 10.0, 8: 10.0, 16: 20.0, 32: 40.0})
    alone, _ = costs.best_draft(0.6, 20)
    costs.others = 7
    assert costs.best_draft(0.6, 20)[0] < alone


def test_guesses_are_shorter_the_more_each_costs() -> None:
    costs = costs_of(FLAT)
    found = [costs.best_draft(0.7, 20, each_ms)[0] for each_ms in (0.0, 1.0, 2.0, 4.0, 8.0)]
    assert found == sorted(found, reverse=True)
    assert found[0] > found[2] > found[-1] == 0


def test_what_was_spent_on_something_else_is_no_cost_of_the_pass() -> None:
    costs = costs_of({1: 10.0})
    costs.aside_ms = 30.0
    costs.learn(1, 40.0)
    costs.learn(1, 10.0)
    assert costs.of(1) == 10.0


def test_costs_between_what_was_measured_lie_between() -> None:
    costs = costs_of({1: 10.0, 16: 25.0, 512: 500.0})
    assert [costs.of(ids) for ids in (1, 16, 512)] == [10.0, 25.0, 500.0]
    assert 10.0 < costs.of(6) < costs.of(12) < 25.0
    assert costs.within(100.0, 16, 512) == max(n for n in range(16, 513) if costs.of(n) <= 100.0)
    assert costs.within(1.0, 16, 512) == 16
    assert costs.within(1e9, 16, 512) == 512


def test_one_slow_pass_says_little() -> None:
    costs = costs_of({1: 10.0})
    costs.learn(1, 5000.0)
    assert costs.of(1) < 20.0


def followed(draft: list[int], answer: list[int], most: int = 3) -> list[tuple[int, ...]]:
    """What is proposed at the start and after each id of the answer."""
    drafter = Drafter([90, 91], draft, costs_of({1: 10.0, 32: 10.0}))
    found = [drafter.propose(most)]
    for id_ in answer:
        drafter.add(id_)
        found.append(drafter.propose(most))
    return found


def test_a_callers_draft_is_proposed_while_the_answer_keeps_to_it() -> None:
    assert followed([1, 2, 3], [1, 2, 3]) == [(1, 2, 3), (2, 3), (3,), ()]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ([1, 50, 2, 3], (4, 5, 6)),  # an insertion, then on
        ([1, 50, 51, 52, 2], (3, 4, 5)),
        ([3], (4, 5, 6)),  # a deletion
        ([1, 50, 3], (4, 5, 6)),  # another id in place of one
        ([50], ()),
        ([1, 2, 3, 4, 5, 6, 7, 1], ()),  # what is passed does not come again
    ],
)
def test_an_answer_may_come_back_to_the_draft(answer: list[int], expected: tuple[int, ...]) -> None:
    assert followed([1, 2, 3, 4, 5, 6, 7], answer)[-1] == expected


def test_without_the_draft_what_stood_before_is_proposed() -> None:
    drafter = Drafter([1, 2, 3, 4, 9, 1], [7, 7], costs_of({1: 10.0, 32: 10.0}))
    drafter.add(2)
    assert drafter.propose(2) == (3, 4)


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Path) -> Loaded:
    return load(EngineSettings(model=str(tiny_checkpoint), device="cpu"), lambda *_: None)


def run(model: Loaded, request: GenerationRequest) -> tuple[list[int], Usage, KVCache]:
    cache = KVCache(model.cache_shape)
    chunks = list(model.decoder.generate(request, cache, lambda: False))
    assert chunks[-1].usage is not None
    return [id_ for chunk in chunks for id_ in chunk.ids], chunks[-1].usage, cache


REPEATING = tuple([*range(40, 60)] * 6)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_an_answer_is_the_same_with_and_without(
    model: Loaded, monkeypatch: pytest.MonkeyPatch, temperature: float, penalty: float
) -> None:
    sampling = Sampling(temperature=temperature, repetition_penalty=penalty, seed=3)
    request = GenerationRequest(REPEATING, 60, sampling=sampling, logprobs=0)
    drafted, usage, cache = run(model, request)
    with monkeypatch.context() as patch:
        patch.setattr(Drafter, "propose", lambda *_: ())
        plain, plain_usage, _ = run(model, request)
    assert drafted == plain
    assert plain_usage.drafted_tokens == 0
    assert 0 <= usage.accepted_tokens <= usage.drafted_tokens
    # The cache holds what was chosen, not what was guessed.
    assert list(cache.ids) == [*REPEATING, *drafted[:-1]]


def test_where_each_id_ends_is_told_whatever_comes_at_once(
    model: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What of an answer is sure enough to be shown must not depend on what was guessed."""
    request = GenerationRequest(REPEATING, 60, logprobs=0)

    def ends() -> list[int]:
        told, length = [], 0
        for chunk in model.decoder.generate(request, KVCache(model.cache_shape), lambda: False):
            assert len(chunk.ends) == len(chunk.ids) == len(chunk.logprobs)
            told += [length + end for end in chunk.ends]
            length += len(chunk.text)
        return told

    drafted = ends()
    monkeypatch.setattr(Drafter, "propose", lambda *_: ())
    assert drafted == ends()
    assert drafted == sorted(drafted)
    assert len(set(drafted)) > 20


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("kept", [60, 25, 0])
def test_a_callers_draft_changes_nothing_but_the_number_of_steps(
    model: Loaded, temperature: float, kept: int
) -> None:
    sampling = Sampling(temperature=temperature, seed=4)
    prompt = tuple(torch.randperm(300)[:30].add(19).tolist())
    request = GenerationRequest(prompt, 60, sampling=sampling)
    plain, _, _ = run(model, request)
    draft = (*plain[:kept], *(300 + at for at in range(5)), *plain[kept:])
    drafted, usage, cache = run(model, replace(request, draft_tokens=draft))
    assert drafted == plain
    assert usage.accepted_tokens >= 40  # after the five that were never said, it is found again
    assert list(cache.ids) == [*prompt, *drafted[:-1]]


def test_a_draft_of_another_vocabulary_is_refused_in_words(model: Loaded) -> None:
    with pytest.raises(RequestError, match="vocabulary"):
        run(model, GenerationRequest((20, 21), 5, draft_tokens=(10**6,)))


def test_a_model_that_repeats_itself_takes_fewer_steps(
    model: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = 0
    forward = model.decoder.forward

    def counting(*arguments: Any, **named: Any) -> Any:
        nonlocal steps
        steps += 1
        return forward(*arguments, **named)

    counted = replace(model, decoder=replace(model.decoder, forward=counting))
    ids, usage, _ = run(counted, GenerationRequest(REPEATING, 300))
    assert len(ids) == 300
    # A random model goes in circles after a while, which is what drafts are good at.
    assert usage.accepted_tokens > 20
    assert steps == 1 + 299 - usage.accepted_tokens


def test_drafts_stay_within_the_window(model: Loaded) -> None:
    window = model.decoder.context_window
    prompt = tuple(([*range(40, 60)] * 60)[: window - 5])
    ids, _, cache = run(model, GenerationRequest(prompt, 50))
    assert len(ids) == 5
    assert len(cache.ids) <= window
