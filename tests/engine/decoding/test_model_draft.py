"""The drafter together with the proposals of a draft model."""

from dataclasses import replace
from typing import Any, cast

import pytest
import torch

from benchmarks.stepped_scheduler import new_cache
from engine.api import GenerationRequest
from engine.decoding.draft_length import DraftLengths
from engine.decoding.draft_model import INITIAL_ACCEPTANCE, DraftModel, ModelDraft
from engine.decoding.drafter import Drafter
from engine.decoding.generation import DecodingContext, generate
from engine.decoding.logits_reader import TokenChoices
from engine.network.model import LoadedModel
from tests.engine.costs import costs_of
from tests.engine.decoding.draft_pair import LARGE_MS


class FixedDraft:
    """Stands in for a draft model, and its `ModelDraft`, that always proposes the same."""

    token_ms = 0.1

    def __init__(self, draft: tuple[int, ...] | None) -> None:
        self.acceptance_rate, self._draft = INITIAL_ACCEPTANCE, draft

    def propose(self, *_: Any) -> tuple[int, ...] | None:
        return self._draft

    def share_acceptance_rate(self, rate: float) -> None:
        self.acceptance_rate = rate

    def start(self, *_: Any) -> "FixedDraft":
        return self

    def close(self) -> None:
        pass


def drafter_with(prompt: list[int], draft: FixedDraft) -> Drafter:
    lengths = DraftLengths(costs_of(LARGE_MS))
    return Drafter(prompt, lengths=lengths, model_draft=cast(ModelDraft, draft))


def test_stopping_early_counts_as_a_miss() -> None:
    short = FixedDraft((7,))
    drafter = drafter_with([1, 2, 3], short)
    for _ in range(5):
        assert drafter.propose(8) == (7,)
        drafter.record_result(1, 1)
    assert short.acceptance_rate < INITIAL_ACCEPTANCE


def test_draft_tokens_after_the_end_of_the_output_are_not_wrong(plain: LoadedModel) -> None:
    draft = FixedDraft((40, 41, 42))
    context = replace(
        DecodingContext.of(plain),
        draft_lengths=DraftLengths(costs_of(LARGE_MS)),
        draft_model=cast(DraftModel, draft),
    )
    request = GenerationRequest((1, 2, 3), 9, stop_ids=frozenset({41}))
    steps = generate(context, request, new_cache(plain), lambda _: None)
    assert next(steps).ids == (1, 2, 3, 40, 41, 42)
    with pytest.raises(StopIteration):
        steps.send(TokenChoices(torch.empty(0), [40, 41, 42, 43]))
    assert draft.acceptance_rate > INITIAL_ACCEPTANCE


@pytest.mark.parametrize("draft", [None, ()])
def test_prompt_lookup_is_used_if_the_draft_model_proposes_nothing(
    draft: tuple[int, ...] | None,
) -> None:
    silent = FixedDraft(draft)
    drafter = drafter_with([1, 2, 3, 4, 1, 2], silent)
    assert drafter.propose(8)[:2] == (3, 4)
    assert (silent.acceptance_rate < INITIAL_ACCEPTANCE) == (draft is not None)
