"""A draft model makes requests faster and never changes their output."""

import json
import shutil
from array import array
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.stepped_scheduler import SteppedScheduler, ids_of, run_alone
from engine.api import GenerationRequest, Sampling
from engine.decoding import draft_model as draft_model_module
from engine.decoding.draft_model import INITIAL_ACCEPTANCE
from engine.errors import ConfigurationError
from engine.kv_cache.arena import Arena
from engine.loading.load import load
from engine.loading.on_disk import EMBEDDED_DIR
from engine.network.batch import BatchEntry
from engine.network.forward import Forward
from engine.network.lean_forward import LeanForward
from engine.network.model import LoadedModel
from engine.network.step_costs import StepCosts
from engine.scheduling import scheduler as scheduler_module
from engine.settings import EngineSettings
from tests.engine.costs import FixedCosts
from tests.engine.decoding.draft_pair import (
    CODE,
    LARGE_MS,
    Pair,
    load_pair,
    request_for,
    run,
)
from tests.engine.wrapped_forward import WrappedForward


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(),
        Sampling(repetition_penalty=1.3),
        Sampling(temperature=0.8, top_p=0.95, seed=5),
    ],
)
@pytest.mark.parametrize("forced_prefix", ["", "path, te"])
def test_the_output_is_the_same_with_and_without_a_draft_model(
    plain: LoadedModel, pair: Pair, sampling: Sampling, forced_prefix: str
) -> None:
    request = request_for(plain, sampling=sampling, forced_prefix=forced_prefix, logprobs=1)
    output, usage = run(pair, request, pair.draft_model())
    assert output == ids_of(run_alone(plain, request))
    assert 0 < usage.accepted_tokens < usage.drafted_tokens


def test_its_caches_may_be_slots_of_an_arena(
    plain: LoadedModel, pair: Pair, noisy_path: Path
) -> None:
    """This is how caches are stored on a GPU."""
    noisy = load(EngineSettings(model=str(noisy_path), device="cpu"), lambda *_: None).model
    assert isinstance(noisy.forward, LeanForward)
    arena = Arena(noisy.cache_shape, 1)
    forward = LeanForward(noisy.forward.weights, None, arena)
    draft_model = pair.with_small(forward=forward, arena=arena).draft_model()
    prompts = (CODE, "import os\n\n\nclass", CODE)
    for text in prompts:
        request = request_for(plain, text)
        output, usage = run(pair, request, draft_model)
        assert output == ids_of(run_alone(plain, request))
        assert usage.drafted_tokens > 0
        assert arena.num_free == 0
        assert len(draft_model.pool.idle) == 1


def test_a_request_without_a_free_slot_runs_without_the_draft_model(
    plain: LoadedModel, pair: Pair
) -> None:
    arena = Arena(pair.small.cache_shape, 1)
    draft_model = pair.with_small(arena=arena).draft_model()
    request = request_for(plain)
    other = draft_model.start(request.prompt, 0, StepCosts())
    assert other is not None
    assert run(pair, request, draft_model)[0] == ids_of(run_alone(plain, request))
    other.close()
    assert draft_model.start(request.prompt, 0, StepCosts()) is not None


def test_a_model_that_is_always_right_saves_most_steps(plain: LoadedModel) -> None:
    twins = load_pair("demo")
    # Nothing here repeats earlier text, so prompt lookup gives little.
    request = request_for(plain, "import os\n\n\nclass", max_new_tokens=40)
    output, usage = run(twins, request, twins.draft_model())
    assert output == ids_of(run_alone(plain, request))
    assert usage.accepted_tokens > 0.5 * len(output)


def test_it_is_not_used_if_it_does_not_pay_off(pair: Pair) -> None:
    as_slow = pair.with_small(costs=FixedCosts(LARGE_MS))
    run(as_slow, request_for(pair.large), as_slow.draft_model())
    assert pair.counter.rows == []


class Clock:
    """A clock that only forward passes move."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    monotonic = perf_counter


class TimedForward(WrappedForward):
    """A forward pass that takes a fixed number of seconds of a clock."""

    def __init__(self, forward: Forward, clock: Clock, seconds: float) -> None:
        super().__init__(forward)
        self._clock, self._seconds = clock, seconds

    def __call__(self, batch: Sequence[BatchEntry]) -> list[torch.Tensor]:
        self._clock.now += self._seconds
        return super().__call__(batch)


class RecordingCosts(FixedCosts):
    """Costs that do not change, and remember the measured durations."""

    def __init__(self, milliseconds: dict[int, float]) -> None:
        super().__init__(milliseconds)
        self.recorded_ms: list[float] = []

    def record(self, num_rows: int, milliseconds: float) -> None:
        self.recorded_ms.append(milliseconds)


def test_its_time_is_not_a_cost_of_the_large_model(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, costs = Clock(), RecordingCosts(LARGE_MS)
    for module in (scheduler_module, draft_model_module):
        monkeypatch.setattr(module, "time", clock)
    large = TimedForward(pair.large.forward, clock, 0.25)
    small = TimedForward(pair.small.forward, clock, 2.0)
    timed = Pair(
        replace(pair.large, forward=large, costs=costs), replace(pair.small, forward=small)
    )
    _, usage = run(timed, request_for(pair.large), timed.draft_model())
    assert usage.drafted_tokens > 0
    assert costs.recorded_ms == [250.0] * len(large.rows)


def test_its_acceptance_rate_is_remembered(pair: Pair) -> None:
    draft_model = pair.draft_model()
    run(pair, request_for(pair.large), draft_model)
    assert draft_model.acceptance_rate != INITIAL_ACCEPTANCE


def test_its_prompt_is_not_computed_again(pair: Pair) -> None:
    draft_model, request = pair.draft_model(), request_for(pair.large)
    run(pair, request, draft_model)
    assert len(draft_model.pool.idle) == 1
    cache = draft_model.pool.take(request.prompt, None, len(request.prompt))
    assert len(cache.ids) == len(request.prompt) - 1


def test_prefilling_takes_a_share_of_the_large_models_time(pair: Pair) -> None:
    sizes = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
    slow = pair.with_small(costs=FixedCosts({size: size / 2 for size in sizes}))
    draft_model = slow.draft_model()
    prompt = request_for(pair.large, CODE * 8).prompt
    model_draft = draft_model.start(prompt, len(prompt) - 1, pair.large.costs)
    assert model_draft is not None
    for _ in range(1000):  # the budget starts at zero
        draft_model.spend_prefill_time(0.1)
    num_computed = []
    for _ in range(100):  # each is a step of 10 ms, which earns the prefill of 2 tokens
        model_draft.propose(array("i", prompt), 1)
        num_computed.append(sum(pair.counter.rows))
    model_draft.close()
    first_steps = enumerate(num_computed[:80], start=1)
    assert all(computed <= 2 * step + 1 for step, computed in first_steps)
    assert 158 <= num_computed[80] <= 161
    assert max(pair.counter.rows) <= 32  # 20 tokens take as long as a step of the large model
    assert len(prompt) in num_computed  # the last token is computed with the first draft


def test_a_prompt_is_prefilled_before_the_first_draft(pair: Pair) -> None:
    draft_model = pair.draft_model()
    prompt = request_for(pair.large, CODE * 8).prompt
    model_draft = draft_model.start(prompt, 0, pair.large.costs)
    assert model_draft is not None
    for _ in range(20):
        draft_model.earn_prefill_time(1000.0)
    assert model_draft.propose(array("i", prompt), 1) is None
    assert pair.counter.rows == [len(prompt) - 1]
    model_draft.propose(array("i", prompt), 1)
    assert pair.counter.rows == [len(prompt) - 1, 1]
    model_draft.close()


class Failing(WrappedForward):
    """A forward pass that always fails."""

    def __call__(self, batch: Sequence[BatchEntry]) -> list[torch.Tensor]:
        raise RuntimeError("no memory")


def test_a_failure_of_the_draft_model_does_not_end_the_request(
    plain: LoadedModel, pair: Pair
) -> None:
    draft_model = pair.with_small(forward=Failing(pair.small.forward)).draft_model()
    request = request_for(plain)
    assert run(pair, request, draft_model)[0] == ids_of(run_alone(plain, request))
    assert not draft_model.pool.idle


def test_a_cancelled_request_gives_its_cache_back(pair: Pair) -> None:
    draft_model = pair.draft_model()
    scheduler = SteppedScheduler(pair.large, draft_model)
    submission = scheduler.submit(request_for(pair.large))
    scheduler.step()
    assert not draft_model.pool.idle
    submission.job.cancelled.set()
    scheduler.submit(GenerationRequest((40,), 1))  # an idle scheduler would block
    scheduler.finish()
    assert draft_model.pool.idle


def test_a_prompt_beyond_its_context_window_gets_no_draft(plain: LoadedModel, pair: Pair) -> None:
    shape = replace(pair.small.cache_shape, capacity=8)
    draft_model = pair.with_small(cache_shape=shape).draft_model()
    request = request_for(plain)
    assert run(pair, request, draft_model)[0] == ids_of(run_alone(plain, request))
    assert pair.counter.rows == []


def test_a_draft_model_with_another_vocabulary_is_refused(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match="another vocabulary than demo"):
        load_pair(str(tiny_checkpoint))
    swapped = tmp_path / "swapped"
    shutil.copytree(EMBEDDED_DIR, swapped)
    file = swapped / "tokenizer.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    vocabulary = content["model"]["vocab"]
    first, second = list(vocabulary)[4000:4002]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    file.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ConfigurationError, match="another vocabulary"):
        load_pair(str(swapped))
