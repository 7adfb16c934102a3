"""Choosing: its distribution against transformers' own warpers, and rows read together."""

import math
from collections import Counter

import pytest
import torch
from torch import Tensor
from transformers.generation import logits_process as warpers

from engine.api import GenerationRequest, Sampling
from engine.decoding.decoder import Decoder
from engine.decoding.logits_reader import Choice, joined, read, tell_from_device
from engine.decoding.sampler import Sampler, candidates, inverse
from engine.kv_cache.cache import KVCache
from engine.loading.load import Loaded, load
from engine.network.step_costs import StepCosts
from engine.settings import EngineSettings


@pytest.fixture(scope="module")
def model() -> Loaded:
    return load(EngineSettings(model="demo"), lambda *_: None)


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))) * 3


def distribution(logits: Tensor, sampling: Sampling) -> Tensor:
    """The probability of each id, as we draw."""
    weights, ids = candidates(logits / sampling.temperature, sampling)
    shares = weights / weights.sum(-1, keepdim=True)
    return shares if ids is None else torch.zeros_like(logits).scatter(-1, ids, shares)


def of_transformers(logits: Tensor, sampling: Sampling) -> Tensor:
    logits = warpers.TemperatureLogitsWarper(sampling.temperature)(None, logits)
    if sampling.top_k:
        logits = warpers.TopKLogitsWarper(sampling.top_k)(None, logits)
    if sampling.top_p < 1:
        logits = warpers.TopPLogitsWarper(sampling.top_p)(None, logits)
    return logits.softmax(-1)


@pytest.mark.parametrize("vocab", [7, 40, 3000])
@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0.3),
        Sampling(temperature=1.0, top_k=5),
        Sampling(temperature=1.0, top_k=1),
        Sampling(temperature=0.7, top_p=0.9),
        Sampling(temperature=1.0, top_p=0.01),
        Sampling(temperature=9.0, top_p=0.99),  # of 3,000 ids so many that all must be sorted
        Sampling(temperature=1.3, top_k=6, top_p=0.8),
    ],
    ids=str,
)
def test_the_distribution_is_that_of_transformers(vocab: int, sampling: Sampling) -> None:
    logits = random(4, vocab)
    found = distribution(logits, sampling)
    torch.testing.assert_close(found, of_transformers(logits, sampling), atol=1e-6, rtol=1e-4)


def test_repetition_is_punished_as_in_transformers_behind_a_guess_too() -> None:
    logits, prompt, written, guess = random(3, 30), [3, 5, 5], [7, 1], (9, 3)
    sampler = Sampler(Sampling(repetition_penalty=1.7), prompt)
    for id_ in written[:-1]:
        sampler.add(id_)
        sampler.penalized(logits, guess)  # of which nothing stays
    sampler.add(written[-1])
    found = sampler.penalized(logits, guess)
    punish = warpers.RepetitionPenaltyLogitsProcessor(1.7)
    for row in range(3):
        before = torch.tensor([[*prompt, *written, *guess[:row]]])
        assert torch.equal(found[row], punish(before, logits[row : row + 1].clone())[0])
    assert sampler.choose(logits, 0, guess).tolist() == found.argmax(-1).tolist()


def test_numbers_spread_evenly_find_each_id_by_its_share() -> None:
    weights, many = torch.tensor([0.0, 3.0, 0.0, 1.0, 4.0, 0.0]), 8000
    uniform = torch.arange(many, dtype=torch.float64) / many
    counts = Counter(inverse(weights.expand(many, -1), uniform).tolist())
    assert counts == {1: 3000, 3: 1000, 4: 4000}
    largest = torch.tensor([math.nextafter(1.0, 0.0)], dtype=torch.float64)
    assert inverse(weights[None], largest).tolist() == [4]


def test_what_is_drawn_has_the_distribution() -> None:
    logits, many = random(1, 12), 20_000
    sampling = Sampling(temperature=1.2, top_p=0.95, seed=3)
    drawn = Sampler(sampling, ()).choose(logits.expand(many, -1), 0, ())
    expected = many * of_transformers(logits, sampling)[0]
    counts = torch.bincount(drawn, minlength=12)
    kept = expected > 0
    assert counts[~kept].sum() == 0
    chi_square = ((counts - expected) ** 2 / expected)[kept].sum()
    # Of as many ids as stay, less one; at five standard deviations.
    freedom = int(kept.sum()) - 1
    assert chi_square < freedom + 5 * math.sqrt(2 * freedom)


def written(model: Loaded, request: GenerationRequest, costs: StepCosts) -> tuple[list[int], int]:
    held = model.decoder
    decoder = Decoder(
        held.forward, held.tokenizer, held.context_window, held.vocab_size, held.end_ids, costs
    )
    chunks = list(decoder.generate(request, KVCache(model.cache_shape), lambda: False))
    assert chunks[-1].usage is not None
    return [id_ for chunk in chunks for id_ in chunk.ids], chunks[-1].usage.accepted_tokens


def test_a_seed_gives_the_same_answer_however_much_is_guessed(model: Loaded) -> None:
    """Which depends on the clock, so it must not show."""
    prompt = tuple(model.decoder.tokenizer.encode("def add(a, b):\n    return a + b\n" * 3))
    sampling = Sampling(temperature=0.9, top_p=0.95, repetition_penalty=1.05, seed=11)
    never, always = StepCosts(), StepCosts()
    for size, cost in ((1, 1.0), (2, 99.0), (3, 99.0)):
        never.learn(size, cost)
        always.learn(size, 1.0)
    plain, _ = written(model, GenerationRequest(prompt, 40, sampling=sampling), never)
    request = GenerationRequest(prompt, 40, sampling=sampling, draft_tokens=tuple(plain))
    drafted, accepted = written(model, request, always)
    assert drafted == plain
    assert accepted > 10


def test_rows_of_many_answers_are_read_as_each_alone() -> None:
    sampler = Sampler(Sampling(temperature=1.0, seed=5), ())
    whole = random(40, 50)
    parts = [*torch.split(whole, [1, 3, 34, 2]), random(2, 60), random(1, 50)]
    choices = [
        Choice(),
        Choice(0),
        Choice(3, given=tuple(range(33))),
        None,
        Choice(2),
        Choice(0, sampler, 4),
    ]
    for logits, choice, found in zip(parts, choices, read(parts, choices), strict=True):
        assert found.logits is logits
        if choice is None:
            assert not found.ids
            continue
        ids = logits.argmax(-1).tolist() if choice.given is None else list(choice.given)
        if choice.sampler is not None:
            ids = sampler.choose(logits, 4, ()).tolist()
        assert list(found.ids) == ids
        assert len(found.logprobs) == (0 if choice.top is None else len(ids))
        for row, told in enumerate(found.logprobs):
            scores = logits[row].log_softmax(-1)
            assert told.id == ids[row]
            assert told.logprob == float(scores[told.id])
            best = scores.topk(choice.top or 0)
            expected = zip(best.indices.tolist(), best.values.tolist(), strict=True)
            assert told.top == tuple(expected)


@pytest.mark.parametrize("top", [None, 0, 4])
def test_a_device_tells_the_same_as_the_host(top: int | None) -> None:
    parts = [random(2, 50), random(35, 50), random(3, 50)]
    sampler = Sampler(Sampling(temperature=1.0, top_k=9, seed=5), ())
    choices = [Choice(top), Choice(top, given=tuple(range(35))), Choice(top, sampler, 1)]
    told, start = tell_from_device(parts, choices), 0
    for logits, reading in zip(parts, read(parts, choices), strict=True):
        end = start + len(logits)
        assert told.ids[start:end] == list(reading.ids)
        if top is not None:
            assert told.scores[start:end] == [one.logprob for one in reading.logprobs]
        if top:
            assert [tuple(one) for one in told.best[start:end]] == [
                one.top for one in reading.logprobs
            ]
        start = end


def test_the_pieces_of_one_tensor_are_not_copied_to_be_joined() -> None:
    whole = random(10, 8)
    assert joined(torch.split(whole[2:], [1, 4, 3])).data_ptr() == whole[2:].data_ptr()
    for parts in ([whole[:2], whole[3:]], [whole[2:], whole[:2]], [random(2, 8), random(3, 8)]):
        assert torch.equal(joined(parts), torch.cat(parts))


def test_ids_fed_one_by_one_are_read_as_together(model: Loaded) -> None:
    tokenizer = model.decoder.tokenizer
    for id_ in range(tokenizer.vocab_size):
        alone, together = tokenizer.stream(), tokenizer.stream()
        assert alone.feed_one(id_) == together.feed((id_,))
        assert alone.flush() == together.flush()
    text = "a👩‍💻é漢🎉b"
    stream = tokenizer.stream()
    assert "".join(map(stream.feed_one, tokenizer.encode(text))) + stream.flush() == text
