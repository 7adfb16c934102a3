"""A draft model makes answers faster and never other."""

import json
import shutil
from array import array
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.api import GenerationRequest, Sampling, Usage
from engine.decoding.draft_model import DraftModel
from engine.decoding.drafter import Drafter
from engine.errors import ConfigurationError
from engine.kv_cache.arena import Arena
from engine.kv_cache.cache import KVCache
from engine.loading.catalog import EMBEDDED_DIR
from engine.loading.load import Loaded, load
from engine.network.lean_forward import LeanForward
from engine.network.step_costs import StepCosts
from engine.settings import EngineSettings

CODE = "def read(path):\n    with open(path) as file:\n        return file.read()\n\n\ndef write("


def loaded(**settings: Any) -> Loaded:
    return load(EngineSettings(model="demo", device="cpu", **settings), lambda *_: None)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo model with noise in its weights: it is often right, and often not."""
    folder = tmp_path_factory.mktemp("models") / "noisy"
    shutil.copytree(EMBEDDED_DIR, folder)
    weights = load_file(folder / "model.safetensors")
    torch.manual_seed(0)
    noisy = {
        name: (one + 0.12 * one.float().std() * torch.randn(one.shape)).to(one.dtype)
        if one.ndim == 2
        else one
        for name, one in weights.items()
    }
    save_file(noisy, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def plain() -> Loaded:
    return loaded()


@pytest.fixture(scope="module")
def drafting(other: Path) -> Loaded:
    return loaded(draft_model=str(other))


def costs_of(milliseconds: dict[int, float]) -> StepCosts:
    costs = StepCosts()
    for ids, took in milliseconds.items():
        costs.learn(ids, took)
    return costs


def cheap(model: Loaded) -> Loaded:
    """The same with costs by which guessing pays."""
    took = {1: 10.0, 4: 10.5, 8: 11.0, 16: 12.0, 32: 14.0, 512: 100.0}
    large, small = costs_of(took), costs_of({ids: each / 20 for ids, each in took.items()})
    assert model.decoder.draft_model is not None
    guessing = DraftModel(model.decoder.draft_model.forward, model.cache_shape, small)
    return replace(model, decoder=replace(model.decoder, costs=large, draft_model=guessing))


def counted(model: Loaded) -> list[int]:
    """The ids of each pass of the draft model from now on."""
    small, passes = model.decoder.draft_model, list[int]()
    assert small is not None
    forward = small.forward

    def counting(ids: torch.Tensor, *args: Any, **fields: Any) -> torch.Tensor:
        passes.append(len(ids))
        return forward(ids, *args, **fields)

    small.forward = cast(Any, counting)
    return passes


def run(model: Loaded, request: GenerationRequest) -> tuple[list[int], Usage]:
    chunks = list(model.decoder.generate(request, KVCache(model.cache_shape), lambda: False))
    usage = chunks[-1].usage
    assert usage is not None
    return [id_ for chunk in chunks for id_ in chunk.ids], usage


def request(model: Loaded, text: str = CODE, **fields: Any) -> GenerationRequest:
    ids = tuple(model.decoder.tokenizer.encode(text))
    return GenerationRequest(ids, **{"max_new_tokens": 60, **fields})


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(),
        Sampling(repetition_penalty=1.3),
        Sampling(temperature=0.8, top_p=0.95, seed=5),
    ],
)
@pytest.mark.parametrize("forced_prefix", ["", "path, te"])
def test_an_answer_is_the_same_with_and_without(
    plain: Loaded, drafting: Loaded, sampling: Sampling, forced_prefix: str
) -> None:
    asked = request(plain, sampling=sampling, forced_prefix=forced_prefix, logprobs=1)
    written, usage = run(cheap(drafting), asked)
    assert written == run(plain, asked)[0]
    assert 0 < usage.accepted_tokens < usage.drafted_tokens


def test_its_caches_may_be_slots_of_an_arena(
    plain: Loaded, drafting: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU."""
    model = cheap(drafting)
    before = model.decoder.draft_model
    assert before is not None
    # What a busy machine takes for a pass is not to decide whether guessing pays.
    monkeypatch.setattr(before.costs, "learn", lambda *_: None)
    assert isinstance(before.forward, LeanForward)
    arena = Arena(before.shape, 1)
    forward = LeanForward(before.forward.weights, arena)
    small = DraftModel(forward, before.shape, before.costs, arena)
    model = replace(model, decoder=replace(model.decoder, draft_model=small))
    for asked in (request(plain), request(plain, "import os\n\n\nclass"), request(plain)):
        written, usage = run(model, asked)
        assert written == run(plain, asked)[0]
        assert usage.drafted_tokens > 0
        assert arena.free == 0
        assert small.pool.idle == 1


def test_who_finds_no_slot_free_is_answered_without_guesses(
    plain: Loaded, drafting: Loaded
) -> None:
    before = drafting.decoder.draft_model
    assert before is not None
    arena = Arena(before.shape, 1)
    small = DraftModel(before.forward, before.shape, before.costs, arena)
    busy = small.begin(request(plain).prompt, 0, StepCosts())
    assert busy is not None
    model = replace(drafting, decoder=replace(drafting.decoder, draft_model=small))
    asked = request(plain)
    assert run(model, asked)[0] == run(plain, asked)[0]
    busy.close()
    assert small.begin(request(plain).prompt, 0, StepCosts()) is not None


def test_a_model_that_is_always_right_saves_most_passes(plain: Loaded) -> None:
    twin = cheap(loaded(draft_model="demo"))
    # Nothing here stood before, so that look-up has little to say.
    asked = request(plain, "import os\n\n\nclass", max_new_tokens=40)
    written, usage = run(twin, asked)
    assert written == run(plain, asked)[0]
    assert usage.accepted_tokens > 0.5 * len(written)


def test_it_is_left_alone_where_it_does_not_pay(drafting: Loaded) -> None:
    model = cheap(drafting)
    assert model.decoder.draft_model is not None
    for ids in (1, 2, 4, 8, 16, 32):
        for _ in range(40):  # as slow as the large one
            model.decoder.draft_model.costs.learn(ids, 10.0)
    passes = counted(model)
    run(model, request(model))
    assert passes == []


def test_how_often_it_is_right_is_remembered(drafting: Loaded) -> None:
    model = cheap(drafting)
    small = model.decoder.draft_model
    assert small is not None
    before = small.chance
    run(model, request(model))
    assert small.chance != before


class Says:
    """In place of a draft model's guesses: always the same."""

    each_ms = 0.1

    def __init__(self, guess: tuple[int, ...] | None) -> None:
        self.model, self._guess = SimpleNamespace(chance=0.7), guess

    def guess(self, *_: Any) -> tuple[int, ...] | None:
        return self._guess


FLAT = {1: 10.0, 4: 10.5, 8: 11.0, 16: 12.0, 32: 14.0}


def test_one_that_guesses_little_is_judged_by_that() -> None:
    timid = Says((7,))
    drafter = Drafter([1, 2, 3], costs=costs_of(FLAT), model=cast(Any, timid))
    for _ in range(5):
        assert drafter.propose(8) == (7,)
        drafter.judge(1, 1)
    assert timid.model.chance < 0.7


@pytest.mark.parametrize("guess", [None, ()])
def test_look_up_has_its_turn_where_it_has_nothing(guess: tuple[int, ...] | None) -> None:
    says = Says(guess)
    drafter = Drafter([1, 2, 3, 4, 1, 2], costs=costs_of(FLAT), model=cast(Any, says))
    assert drafter.propose(8)[:2] == (3, 4)
    assert (says.model.chance < 0.7) == (guess is not None)


def test_what_it_has_read_is_not_read_again(drafting: Loaded) -> None:
    model = cheap(drafting)
    small = model.decoder.draft_model
    assert small is not None
    run(model, request(model))
    assert small.pool.idle == 1
    prompt = request(model).prompt
    cache = small.pool.take(prompt, None, len(prompt))
    assert len(cache.ids) == len(prompt) - 1


def test_reading_takes_a_share_of_what_the_large_model_does(drafting: Loaded) -> None:
    model = cheap(drafting)
    small, large = model.decoder.draft_model, model.decoder.costs
    assert small is not None
    small.costs = costs_of({ids: ids / 2 for ids in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)})
    small.costs.learn = cast(Any, lambda *_: None)
    passes = counted(model)
    prompt = request(model, CODE * 8).prompt
    guesses = small.begin(prompt, len(prompt) - 1, large)
    assert guesses is not None
    small.allowance_ms = 0.0
    read = []
    for _ in range(100):  # each a pass of 10 ms, which earns the reading of 2 ids
        guesses.guess(array("i", prompt), 1)
        read.append(sum(passes))
    guesses.close()
    assert all(ids <= 2 * (number + 1) for number, ids in enumerate(read[:80]))
    assert read[80] == 160
    assert max(passes) <= 32  # one pass of the large model reads 20
    assert len(prompt) in read  # the last of it with the first guess


def test_a_prompt_is_read_and_then_guessed(drafting: Loaded) -> None:
    model = cheap(drafting)
    small, large = model.decoder.draft_model, model.decoder.costs
    assert small is not None
    prompt = request(model, CODE * 8).prompt
    guesses = small.begin(prompt, 0, large)
    assert guesses is not None
    small.allowance_ms = 1000.0
    passes = counted(model)
    assert guesses.guess(array("i", prompt), 1) is None
    assert passes == [len(prompt) - 1]
    guesses.guess(array("i", prompt), 1)
    assert passes == [len(prompt) - 1, 1]
    guesses.close()


def test_a_failure_costs_no_answer(
    plain: Loaded, drafting: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = cheap(drafting)
    small = model.decoder.draft_model
    assert small is not None

    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("no memory")

    monkeypatch.setattr(small, "forward", fails)
    asked = request(plain)
    assert run(model, asked)[0] == run(plain, asked)[0]
    assert small.pool.idle == 0


def test_who_leaves_gives_the_cache_back(drafting: Loaded) -> None:
    model = cheap(drafting)
    small = model.decoder.draft_model
    assert small is not None
    cache = KVCache(model.cache_shape)
    chunks = model.decoder.generate(request(model), cache, lambda: False)
    next(chunks)
    assert small.pool.idle == 0
    chunks.close()
    assert small.pool.idle == 1


def test_a_prompt_beyond_its_window_is_not_guessed(drafting: Loaded) -> None:
    model = cheap(drafting)
    small = model.decoder.draft_model
    assert small is not None
    small.shape = replace(small.shape, capacity=8)
    asked = request(model)
    assert run(model, asked)[0] == run(drafting, asked)[0]


def test_another_vocabulary_is_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="another vocabulary than demo"):
        loaded(draft_model=str(tiny_checkpoint))
    swapped = tmp_path / "swapped"
    shutil.copytree(EMBEDDED_DIR, swapped)
    file = swapped / "tokenizer.json"
    held = json.loads(file.read_text(encoding="utf-8"))
    vocabulary = held["model"]["vocab"]
    first, second = list(vocabulary)[4000:4002]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    file.write_text(json.dumps(held), encoding="utf-8")
    with pytest.raises(ConfigurationError, match="another vocabulary"):
        loaded(draft_model=str(swapped))
