"""Draft tokens repeat earlier text, and change only the speed of an output."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.stepped_scheduler import SteppedScheduler, ids_of, run_alone
from engine.api import GenerationRequest, Sampling, Usage
from engine.decoding.draft_length import DraftLengths
from engine.decoding.drafter import Drafter
from engine.errors import RequestError
from engine.loading.load import load
from engine.network.model import LoadedModel
from engine.network.step_costs import StepCosts
from engine.settings import EngineSettings
from tests.engine.costs import FixedCosts, costs_of


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ([1, 2, 3, 4, 5, 1, 2], (3, 4, 5, 1, 2)),
        ([7, 1, 2, 8, 1, 2, 9, 1, 2], (9, 1, 2)),  # the last earlier occurrence
        (
            [5, 1, 2, 3, 6, 1, 2, 4, 5, 1, 2],
            (3, 6, 1, 2, 4, 5, 1, 2),
        ),  # a longer match wins over a later one
        ([1, 2, 3], ()),
        ([1], ()),
        ([3, 3, 3, 3], (3,)),
        ([256, 1, 0, 256, 1], (0, 256, 1)),  # no match across the bytes of ids
        ([65536, 256, 1, 0], ()),
    ],
)
def test_the_tokens_after_an_earlier_match_are_proposed(
    prompt: list[int], expected: tuple[int, ...]
) -> None:
    assert Drafter(prompt, lengths=free_drafts()).propose(9) == expected


def free_drafts() -> DraftLengths:
    """Draft lengths for costs that do not depend on the number of rows."""
    return DraftLengths(costs_of({1: 10.0, 32: 10.0}))


def test_nothing_is_drafted_after_the_end_of_the_output() -> None:
    drafter = Drafter([1, 2, 3, 4, 5, 1, 2], lengths=free_drafts())
    assert drafter.propose(9, ends_output=lambda id_: id_ == 4) == (3, 4)
    assert drafter.num_drafted == 2


@given(
    prompt=st.lists(st.integers(0, 3), max_size=30),
    added=st.lists(st.integers(0, 3), max_size=9),
    max_tokens=st.integers(0, 12),
)
def test_a_draft_always_repeats_earlier_text(
    prompt: list[int], added: list[int], max_tokens: int
) -> None:
    drafter = Drafter(prompt)
    for id_ in added:
        drafter.add(id_)
    text = [*prompt, *added]
    draft = list(drafter.propose(max_tokens))
    assert len(draft) <= max_tokens
    ends = [end for end in range(2, len(text)) if text[end - 2 : end] == text[-2:]]
    if draft:
        assert draft in [text[end : end + len(draft)] for end in ends]
    elif max_tokens:
        assert not ends


def draft_lengths(costs: StepCosts, are_right: list[bool]) -> list[int]:
    """The length of each draft if all tokens of the previous one were right, or none."""
    drafter, sizes = Drafter([*range(40), 0, 1], lengths=DraftLengths(costs)), []
    for is_right in [*are_right, False]:
        draft = drafter.propose(99)
        sizes.append(len(draft))
        drafter.record_result(len(draft), len(draft) if is_right else 0)
    assert drafter.num_drafted == sum(sizes)
    return sizes


FLAT = {1: 10.0, 4: 10.5, 8: 11.0, 16: 12.0, 32: 14.0}
STEEP = {1: 10.0, 2: 20.0, 4: 40.0, 8: 80.0, 16: 160.0, 32: 320.0}


def test_drafts_grow_while_they_are_right_and_shrink_otherwise() -> None:
    growing = draft_lengths(costs_of(FLAT), [True] * 4)
    assert growing == sorted(growing)
    assert growing[-1] > growing[0] > 0
    shrinking = draft_lengths(costs_of(FLAT), [False] * 10)
    assert shrinking == sorted(shrinking, reverse=True)
    assert shrinking[-1] < shrinking[0] / 2


def test_nothing_is_drafted_if_a_pass_costs_in_proportion_to_its_rows() -> None:
    assert draft_lengths(costs_of(STEEP), [True]) == [0, 0]


def test_a_source_that_was_often_wrong_is_tried_again_later() -> None:
    costs = costs_of({1: 10.0, 2: 12.0, 4: 16.0, 8: 24.0, 16: 40.0, 32: 72.0})
    sizes = draft_lengths(costs, [False] * 60)
    first_without = sizes.index(0)
    assert any(sizes[first_without:])
    assert sizes.count(0) > 30


def test_drafts_are_shorter_if_other_sequences_fill_the_step() -> None:
    lengths = DraftLengths(costs_of({1: 10.0, 2: 10.0, 4: 10.0, 8: 10.0, 16: 20.0, 32: 40.0}))
    alone, _ = lengths.best(0.6, 20, other_rows=0)
    assert lengths.best(0.6, 20, other_rows=7)[0] < alone


def test_drafts_are_shorter_the_more_each_token_costs() -> None:
    lengths = DraftLengths(costs_of(FLAT))
    sizes = [
        lengths.best(0.7, 20, other_rows=0, token_ms=token_ms)[0]
        for token_ms in (0.0, 1.0, 2.0, 4.0, 8.0)
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[2] > sizes[-1] == 0


def test_new_measurements_change_the_length_after_a_while() -> None:
    costs = costs_of(FLAT)
    lengths = DraftLengths(costs)
    assert lengths.best(0.7, 20, other_rows=0)[0] > 0
    for _ in range(40):
        for num_rows, duration_ms in STEEP.items():
            costs.record(num_rows, duration_ms)
    assert lengths.best(0.7, 20, other_rows=0)[0] == 0


def proposals(caller_draft: list[int], output: list[int]) -> list[tuple[int, ...]]:
    """The drafts at the start and after each token of the output."""
    drafter = Drafter([90, 91], caller_draft, free_drafts())
    drafts = [drafter.propose(3)]
    for id_ in output:
        drafter.add(id_)
        drafts.append(drafter.propose(3))
    return drafts


def test_a_callers_draft_is_proposed_while_the_output_follows_it() -> None:
    assert proposals([1, 2, 3], [1, 2, 3]) == [(1, 2, 3), (2, 3), (3,), ()]


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ([1, 50, 2, 3], (4, 5, 6)),  # an insertion
        ([1, 50, 51, 52, 2], (3, 4, 5)),
        ([3], (4, 5, 6)),  # a deletion
        ([1, 50, 3], (4, 5, 6)),  # a replacement
        ([50], ()),
        ([1, 2, 3, 4, 5, 6, 7, 1], ()),  # tokens already passed do not match again
    ],
)
def test_an_output_may_return_to_the_draft(output: list[int], expected: tuple[int, ...]) -> None:
    assert proposals([1, 2, 3, 4, 5, 6, 7], output)[-1] == expected


def test_prompt_lookup_is_used_if_the_callers_draft_does_not_match() -> None:
    drafter = Drafter([1, 2, 3, 4, 9, 1], [7, 7], free_drafts())
    drafter.add(2)
    assert drafter.propose(2) == (3, 4)


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Path) -> LoadedModel:
    return load(EngineSettings(model=str(tiny_checkpoint), device="cpu"), lambda *_: None).model


def run(model: LoadedModel, request: GenerationRequest) -> tuple[list[int], Usage, list[int]]:
    """Return the output, its usage, and the token ids in the KV cache."""
    scheduler = SteppedScheduler(model)
    chunks = scheduler.run(request)
    assert chunks[-1].usage is not None
    (cache,) = scheduler.scheduler.pool.idle
    return ids_of(chunks), chunks[-1].usage, list(cache.ids)


REPEATING = tuple([*range(40, 60)] * 6)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_the_output_is_the_same_with_and_without_drafts(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch, temperature: float, penalty: float
) -> None:
    sampling = Sampling(temperature=temperature, repetition_penalty=penalty, seed=3)
    request = GenerationRequest(REPEATING, 60, sampling=sampling, logprobs=0)
    drafted, usage, cached = run(model, request)
    with monkeypatch.context() as patch:
        patch.setattr(Drafter, "propose", lambda *_: ())
        plain, plain_usage, _ = run(model, request)
    assert drafted == plain
    assert plain_usage.drafted_tokens == 0
    assert 0 <= usage.accepted_tokens <= usage.drafted_tokens
    # The cache holds the chosen tokens and no wrong draft tokens.
    assert cached == [*REPEATING, *drafted[:-1]]


def test_offsets_of_tokens_do_not_depend_on_drafts(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The part of an output that is certain enough to be shown must not depend on drafts."""
    request = GenerationRequest(REPEATING, 60, logprobs=0)

    def ends() -> list[int]:
        offsets, length = [], 0
        for chunk in run_alone(model, request):
            assert len(chunk.ends) == len(chunk.ids) == len(chunk.logprobs)
            offsets += [length + end for end in chunk.ends]
            length += len(chunk.text)
        return offsets

    drafted = ends()
    monkeypatch.setattr(Drafter, "propose", lambda *_: ())
    assert drafted == ends()
    assert drafted == sorted(drafted)
    assert len(set(drafted)) > 20


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("num_kept", [60, 25, 0])
def test_a_callers_draft_changes_only_the_number_of_steps(
    model: LoadedModel, temperature: float, num_kept: int
) -> None:
    sampling = Sampling(temperature=temperature, seed=4)
    prompt = tuple(torch.randperm(300)[:30].add(19).tolist())
    request = GenerationRequest(prompt, 60, sampling=sampling)
    model = replace(model, costs=FixedCosts(FLAT))  # measured costs depend on what else runs
    plain, _, _ = run(model, request)
    draft = (*plain[:num_kept], *range(300, 305), *plain[num_kept:])
    drafted, usage, cached = run(model, replace(request, draft_tokens=draft))
    assert drafted == plain
    assert usage.accepted_tokens >= 40  # the draft matches again after its five wrong tokens
    assert cached == [*prompt, *drafted[:-1]]


def test_a_draft_of_another_vocabulary_is_refused_with_a_reason(model: LoadedModel) -> None:
    with pytest.raises(RequestError, match="vocabulary"):
        run(model, GenerationRequest((20, 21), 5, draft_tokens=(10**6,)))


def test_a_model_that_repeats_itself_takes_fewer_steps(model: LoadedModel) -> None:
    scheduler = SteppedScheduler(replace(model, costs=FixedCosts(FLAT)))
    chunks = scheduler.run(GenerationRequest(REPEATING, 300))
    usage = chunks[-1].usage
    assert usage is not None
    assert len(ids_of(chunks)) == 300
    # A random model repeats itself after a while, and then drafts are right.
    assert usage.accepted_tokens > 20
    assert scheduler.metrics.steps == 1 + 299 - usage.accepted_tokens


def test_drafts_stay_within_the_context_window(model: LoadedModel) -> None:
    window = model.context_window
    prompt = tuple(([*range(40, 60)] * 60)[: window - 5])
    ids, _, cached = run(model, GenerationRequest(prompt, 50))
    assert len(ids) == 5
    assert len(cached) <= window
