"""The sampler, compared with transformers' own logits processors."""

import math
from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from transformers.generation import logits_process as processors

from benchmarks.stepped_scheduler import ids_of, run_alone
from engine.api import GenerationRequest, Sampling
from engine.decoding.sampler import Sampler, inverse_cdf, truncated_weights
from engine.loading.load import load
from engine.network.model import LoadedModel
from engine.network.step_costs import StepCosts
from engine.settings import EngineSettings


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return load(EngineSettings(model="demo"), lambda *_: None).model


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))) * 3


def distribution(logits: Tensor, sampling: Sampling) -> Tensor:
    """The probability with which we draw each token."""
    weights, ids = truncated_weights(logits / sampling.temperature, sampling)
    shares = weights / weights.sum(-1, keepdim=True)
    return shares if ids is None else torch.zeros_like(logits).scatter(-1, ids, shares)


def transformers_distribution(logits: Tensor, sampling: Sampling) -> Tensor:
    logits = processors.TemperatureLogitsWarper(sampling.temperature)(None, logits)
    if sampling.top_k:
        logits = processors.TopKLogitsWarper(sampling.top_k)(None, logits)
    if sampling.top_p < 1:
        logits = processors.TopPLogitsWarper(sampling.top_p)(None, logits)
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
        Sampling(temperature=9.0, top_p=0.99),  # needs nearly all of 3,000 ids, so all are sorted
        Sampling(temperature=1.3, top_k=6, top_p=0.8),
    ],
    ids=str,
)
def test_the_distribution_is_that_of_transformers(vocab: int, sampling: Sampling) -> None:
    logits = random(4, vocab)
    expected = transformers_distribution(logits, sampling)
    torch.testing.assert_close(distribution(logits, sampling), expected, atol=1e-6, rtol=1e-4)


def test_the_repetition_penalty_is_that_of_transformers_also_after_draft_tokens() -> None:
    logits, prompt, written, draft = random(3, 30), [3, 5, 5], [7, 1], (9, 3)
    sampler = Sampler(Sampling(repetition_penalty=1.7), prompt)
    for id_ in written[:-1]:
        sampler.add(id_)
        sampler.penalized(logits, draft)  # draft tokens must leave no trace
    sampler.add(written[-1])
    penalized = sampler.penalized(logits, draft)
    penalty = processors.RepetitionPenaltyLogitsProcessor(1.7)
    for row in range(3):
        before = torch.tensor([[*prompt, *written, *draft[:row]]])
        assert torch.equal(penalized[row], penalty(before, logits[row : row + 1].clone())[0])
    assert sampler.choose(logits, 0, draft).tolist() == penalized.argmax(-1).tolist()


def test_evenly_spaced_numbers_fall_on_each_index_by_its_share() -> None:
    weights, count = torch.tensor([0.0, 3.0, 0.0, 1.0, 4.0, 0.0]), 8000
    uniform = torch.arange(count, dtype=torch.float64) / count
    counts = Counter(inverse_cdf(weights.expand(count, -1), uniform).tolist())
    assert counts == {1: 3000, 3: 1000, 4: 4000}
    largest = torch.tensor([math.nextafter(1.0, 0.0)], dtype=torch.float64)
    assert inverse_cdf(weights[None], largest).tolist() == [4]


def test_drawn_tokens_have_the_distribution() -> None:
    logits, count = random(1, 12), 20_000
    sampling = Sampling(temperature=1.2, top_p=0.95, seed=3)
    drawn = Sampler(sampling, ()).choose(logits.expand(count, -1), 0, ())
    expected = count * transformers_distribution(logits, sampling)[0]
    counts = torch.bincount(drawn, minlength=12)
    is_kept = expected > 0
    assert counts[~is_kept].sum() == 0
    chi_square = ((counts - expected) ** 2 / expected)[is_kept].sum()
    # Degrees of freedom: the number of kept tokens minus one. The bound is five deviations.
    freedom = int(is_kept.sum()) - 1
    assert chi_square < freedom + 5 * math.sqrt(2 * freedom)


def output(
    model: LoadedModel, request: GenerationRequest, costs: StepCosts
) -> tuple[list[int], int]:
    chunks = run_alone(replace(model, costs=costs), request)
    assert chunks[-1].usage is not None
    return ids_of(chunks), chunks[-1].usage.accepted_tokens


def test_a_seed_gives_the_same_output_for_any_number_of_draft_tokens(model: LoadedModel) -> None:
    """The number of draft tokens depends on the clock, so the output must not depend on it."""
    prompt = tuple(model.tokenizer.encode("def add(a, b):\n    return a + b\n" * 3))
    sampling = Sampling(temperature=0.9, top_p=0.95, repetition_penalty=1.05, seed=11)
    never, always = StepCosts(), StepCosts()
    for size, cost in ((1, 1.0), (2, 99.0), (3, 99.0)):
        never.record(size, cost)
        always.record(size, 1.0)
    plain, _ = output(model, GenerationRequest(prompt, 40, sampling=sampling), never)
    request = GenerationRequest(prompt, 40, sampling=sampling, draft_tokens=tuple(plain))
    drafted, num_accepted = output(model, request, always)
    assert drafted == plain
    assert num_accepted > 10


def test_decoding_token_by_token_gives_the_same_text(model: LoadedModel) -> None:
    tokenizer = model.tokenizer
    for id_ in range(tokenizer.vocab_size):
        single, several = tokenizer.stream(), tokenizer.stream()
        assert single.feed_one(id_) == several.feed((id_,))
        assert single.flush() == several.flush()
    text = "a👩‍💻é漢🎉b"
    stream = tokenizer.stream()
    assert "".join(map(stream.feed_one, tokenizer.encode(text))) + stream.flush() == text


@pytest.mark.parametrize("temperature", [1e-310, 1e-40, 9e-6])
def test_a_tiny_temperature_is_greedy(temperature: float) -> None:
    logits = torch.tensor([[1.0, 50.0, -3.0, 49.9]])
    for seed in range(20):
        sampler = Sampler(Sampling(temperature=temperature, seed=seed), ())
        assert sampler.is_greedy
        assert sampler.choose(logits, 0, ()).tolist() == [1]
