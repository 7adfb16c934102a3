"""The mixture of the model's distribution and what followed in the project's text."""

import math
from dataclasses import replace

import pytest
import torch

from benchmarks.stepped_scheduler import SteppedScheduler, ids_of, run_alone
from benchmarks.stepped_scheduler import text_of as joined
from engine.api import GenerationRequest, Memory, Sampling
from engine.decoding import mixture
from engine.decoding.generation import DecodingContext
from engine.decoding.memory_text import MATCH_SIZES, Continuation, MemoryText
from engine.decoding.mixture import Mixer, evidence_of
from engine.loading.load import load
from engine.network.model import LoadedModel
from engine.settings import EngineSettings

_HEAD = """(values: list[float]) -> float:
    \"\"\"Return a number for the values of a list.\"\"\"
    result = """
BEFORE = f"def total{_HEAD}"
PASSAGE = f"def other{_HEAD}compute_the_sum(values, start=0)\n    return result\n"


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return load(EngineSettings(model="demo"), lambda *_: None).model


def request_for(model: LoadedModel, **options: object) -> GenerationRequest:
    ids = tuple(model.tokenizer.encode(BEFORE))
    request = GenerationRequest(ids, 24, single_line=True, logprobs=2)
    return replace(request, **options)  # type: ignore[arg-type]


def text_of(model: LoadedModel, **options: object) -> str:
    return joined(run_alone(model, request_for(model, **options)))


def test_a_long_match_grows_the_weight_and_a_certain_model_shrinks_it() -> None:
    last = len(MATCH_SIZES) - 1
    logits = [evidence_of([Continuation(1, ((size, 1),))]) for size in range(last + 1)]
    weights = [each.logit for each in logits if each]
    assert weights[-1] > weights[4] > weights[0]
    evidence = evidence_of([Continuation(1, ((last, 1),)), Continuation(2, ((0, 1),))])
    assert evidence is not None
    assert evidence.log_shares[0] > math.log(0.9)
    assert sum(map(math.exp, evidence.log_shares)) == pytest.approx(1)
    assert evidence_of([]) is None


def test_agreement_and_the_number_of_places_grow_the_weight() -> None:
    def logit(*counts: int) -> float:
        evidence = evidence_of(
            [Continuation(id_, ((5, count),)) for id_, count in enumerate(counts)]
        )
        assert evidence is not None
        return evidence.logit

    assert logit(4) > logit(3, 1) > logit(2, 2)
    assert logit(4) > logit(1)


def test_a_token_that_the_model_prefers_gains_too(model: LoadedModel) -> None:
    context = DecodingContext.of(model)
    text = MemoryText(Memory(BEFORE, (PASSAGE,)), context.continuation_tokens)
    (id_,) = evidence_of(text.continuations()).ids  # type: ignore[union-attr]
    logits = torch.zeros(1, model.vocab_size)
    logits[0, id_] = math.log(1.5 * (model.vocab_size - 1))  # 60 %
    evidence = evidence_of(text.continuations())
    assert evidence is not None
    _, entropy = mixture.log_sum_and_entropy(logits[0])
    weight = 1 / (1 + math.exp(-evidence.logit - mixture._ENTROPY * entropy))
    Mixer(text).mix(logits)
    assert float(logits.softmax(-1)[0, id_]) == pytest.approx((1 - weight) * 0.6 + weight, rel=1e-4)


def test_only_allowed_tokens_have_a_probability(model: LoadedModel) -> None:
    context = DecodingContext.of(model)
    text = MemoryText(Memory(BEFORE, (PASSAGE,)), context.continuation_tokens)
    allowed = context.vocabulary.tokens_compatible_with(b"comp")
    mixed = (
        Mixer(text)
        .mix_forced(torch.zeros(1, model.vocab_size), b"comp", torch.tensor(allowed))
        .softmax(-1)[0]
    )
    assert set(mixed.nonzero()[:, 0].tolist()) == set(allowed)


def test_line_ends_of_one_line_count_together(model: LoadedModel) -> None:
    ends = ("\n", "\n\n", "\n    b")
    passages = (
        *[f"def f{_HEAD}zq_value{end}" for end in ends] * 2,
        *[f"def g{_HEAD}zq_value, other\n"] * 4,
    )
    memory = Memory(BEFORE, passages)
    assert text_of(model, memory=memory, forced_prefix="zq_value") == "zq_value"
    assert "," in text_of(model, memory=memory, forced_prefix="zq_value", single_line=False)


def test_a_gpu_computes_the_same(model: LoadedModel) -> None:
    logits = torch.randn(model.vocab_size) * 4
    expected = mixture.log_sum_and_entropy(logits)
    actual = mixture.log_sum_and_entropy_on_device(logits)
    assert [float(value) for value in actual] == pytest.approx(expected, rel=1e-4)
    probabilities = logits.double().softmax(-1)
    entropy = float(-(probabilities * probabilities.log()).sum())
    assert expected == pytest.approx((float(logits.double().logsumexp(-1)), entropy), rel=1e-4)


def test_the_mixture_is_a_distribution_between_both(model: LoadedModel) -> None:
    context = DecodingContext.of(model)
    text = MemoryText(Memory(BEFORE, (PASSAGE,)), context.continuation_tokens)
    evidence = evidence_of(text.continuations())
    assert evidence is not None
    logits = torch.randn(1, model.vocab_size)
    alone = logits.clone()
    Mixer(text).mix(logits)
    others = [id_ for id_ in range(model.vocab_size) if id_ not in evidence.ids]
    assert torch.equal(logits[0, others], alone[0, others])
    before, after = alone.softmax(-1)[0], logits.softmax(-1)[0]
    weight = 1 - float((after[others] / before[others]).mean())
    assert 0 < weight < 1
    for id_, log_share in zip(evidence.ids, evidence.log_shares, strict=True):
        expected = (1 - weight) * before[id_] + weight * math.exp(log_share)
        assert float(after[id_]) == pytest.approx(float(expected), rel=1e-3)


def test_an_uncertain_model_listens_more(model: LoadedModel) -> None:
    context = DecodingContext.of(model)
    text = MemoryText(Memory(BEFORE, (PASSAGE,)), context.continuation_tokens)
    id_ = text.continuations()[0].id
    gains = []
    for temperature in (0.1, 10.0):
        logits = torch.linspace(5, -5, model.vocab_size)[None] / temperature
        logits[0, id_] = -50.0  # the model alone never chooses it
        Mixer(text).mix(logits)
        gains.append(float(logits.softmax(-1)[0, id_]))
    assert gains[1] > gains[0]


def test_each_row_follows_one_more_draft_token(model: LoadedModel) -> None:
    context = DecodingContext.of(model)
    draft = tuple(model.tokenizer.encode("compute_the_sum(values"))
    text = MemoryText(Memory(BEFORE, (PASSAGE,)), context.continuation_tokens)
    rows = torch.zeros(len(draft) + 1, model.vocab_size)
    Mixer(text).mix(rows, draft)
    assert rows.argmax(-1).tolist()[: len(draft)] == list(draft)
    stopped = torch.zeros(len(draft) + 1, model.vocab_size)
    Mixer(text).mix(stopped, (*draft[:1], 5, *draft[2:]), is_greedy=True)
    assert torch.equal(stopped[:2], rows[:2])
    assert not stopped[2:].any()


def test_the_models_line_end_stands_for_the_memorys(model: LoadedModel) -> None:
    context = DecodingContext.of(model)
    line_ends = context.vocabulary.line_end_ids
    memory = Memory("abcde", ("abcde\n        x",))
    text = MemoryText(memory, context.continuation_tokens, frozenset(line_ends))
    logits = torch.zeros(1, model.vocab_size)
    logits[0, line_ends[-1]] = 1.0
    changed = logits.clone()
    Mixer(text, line_ends).mix(changed)
    assert (changed != logits).nonzero()[:, 1].tolist() == [line_ends[-1]]


def test_the_passage_decides_where_the_model_does_not_know(model: LoadedModel) -> None:
    memory = Memory(BEFORE, (PASSAGE,))
    expected = "compute_the_sum(values, start=0)"
    assert text_of(model) != expected
    assert text_of(model, memory=memory) == expected
    assert text_of(model, memory=replace(memory, is_mixed=False)) == text_of(model)
    other = Memory(BEFORE, ("nothing similar",))
    assert text_of(model, memory=other) == text_of(model)
    assert text_of(model, memory=Memory("", ())) == text_of(model)


def test_a_half_typed_word_is_completed_from_the_passage(model: LoadedModel) -> None:
    memory = Memory(BEFORE, (PASSAGE, f"def third{_HEAD}other_sum(values)\n"))
    for typed in ("c", "comp", "compute_"):
        text = text_of(model, memory=memory, forced_prefix=typed)
        assert text == "compute_the_sum(values, start=0)", typed
    assert text_of(model, memory=memory, forced_prefix="xyz").startswith("xyz")


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=0.7, top_p=0.9, seed=3)])
@pytest.mark.parametrize("forced_prefix", ["", "compu"])
def test_drafts_do_not_change_the_output(
    model: LoadedModel, sampling: Sampling, forced_prefix: str
) -> None:
    outputs, steps = [], []
    for is_draft in (False, True):
        memory = Memory(BEFORE, (PASSAGE, PASSAGE.replace("sum", "mean")), is_draft=is_draft)
        chunks = run_alone(
            model,
            request_for(
                model,
                memory=memory,
                sampling=sampling,
                forced_prefix=forced_prefix,
                single_line=False,
                max_new_tokens=40,
            ),
        )
        usage = chunks[-1].usage
        assert usage is not None
        outputs.append(ids_of(chunks))
        steps.append(usage.accepted_tokens)
    assert outputs[0] == outputs[1]
    assert steps[1] > steps[0]


def test_known_text_costs_few_forward_passes(model: LoadedModel) -> None:
    passes = []
    for is_draft in (False, True):
        scheduler = SteppedScheduler(model)
        memory = Memory(BEFORE, (PASSAGE,), is_draft=is_draft)
        scheduler.run(request_for(model, memory=memory))
        passes.append(scheduler.metrics.steps)
    assert passes[1] <= passes[0] * 0.6


def test_requests_with_and_without_memory_run_in_one_batch(model: LoadedModel) -> None:
    requests = [
        request_for(model, memory=Memory(BEFORE, (PASSAGE,))),
        request_for(model),
        request_for(model, memory=Memory(BEFORE, (BEFORE + "None\n",))),
    ]
    scheduler = SteppedScheduler(model)
    submissions = [scheduler.submit(request) for request in requests]
    scheduler.finish()
    texts = [joined(submission.chunks) for submission in submissions]
    assert texts == [joined(run_alone(model, request)) for request in requests]
    assert len(set(texts)) == 3


def test_log_probabilities_are_those_of_the_mixture(model: LoadedModel) -> None:
    memory = Memory(BEFORE, (PASSAGE,))
    chunks = run_alone(model, request_for(model, memory=memory))
    scores = [score for chunk in chunks for score in chunk.logprobs]
    alone = run_alone(model, request_for(model))
    first = next(score for chunk in alone for score in chunk.logprobs)
    assert scores[0].id != first.id
    assert scores[0].logprob > first.logprob or scores[0].logprob > math.log(0.3)
    assert all(score.logprob <= 1e-4 for score in scores)
    assert all(score.top[0][0] == score.id for score in scores)
