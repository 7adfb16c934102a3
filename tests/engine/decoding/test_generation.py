"""Generation compared with transformers' own `generate`, and its promises about text and caches."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from benchmarks.stepped_scheduler import (
    SteppedScheduler,
    ids_of,
    new_cache,
    run_alone,
    score_alone,
    text_of,
)
from engine.api import Chunk, FinishReason, GenerationRequest, Sampling, TokenLogprob
from engine.decoding.logits_reader import read_logits
from engine.decoding.scoring import CHUNK_TOKENS
from engine.decoding.scoring import score as score_steps
from engine.decoding.sequence import TokenSequence
from engine.errors import PromptTooLongError, RequestError, StarcoderError
from engine.loading.load import load
from engine.network.batch import BatchEntry
from engine.network.lean_forward import LeanForward
from engine.network.model import LoadedModel
from engine.network.transformers_forward import TransformersForward
from engine.settings import EngineSettings
from tests.checkpoint_maker import make_checkpoint
from tests.engine.wrapped_forward import WrappedForward

NEW_TOKENS = 24


def load_quietly(path: Path, **settings: Any) -> LoadedModel:
    return load(EngineSettings(model=str(path), **settings), lambda *_: None).model


@pytest.fixture(scope="module")
def long_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("long"), n_positions=8192)


@pytest.fixture(scope="module")
def long_model(long_path: Path) -> LoadedModel:
    return load_quietly(long_path)


@pytest.fixture(scope="module")
def reference(long_path: Path) -> Callable[..., list[int]]:
    """Greedy output of transformers' generate."""
    model = AutoModelForCausalLM.from_pretrained(long_path, dtype=torch.float32).eval()

    def generate(ids: tuple[int, ...], count: int = NEW_TOKENS) -> list[int]:
        out = model.generate(
            torch.tensor([ids]), max_new_tokens=count, do_sample=False, pad_token_id=0
        )
        new: list[int] = out[0, len(ids) :].tolist()
        return new[: new.index(0)] if 0 in new else new

    return generate


def random_ids(count: int, seed: int = 0) -> tuple[int, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(19, 360, (count,), generator=generator).tolist())


def reused_tokens(chunks: list[Chunk]) -> int:
    assert chunks[-1].usage is not None
    return chunks[-1].usage.reused_tokens


@pytest.mark.parametrize("length", [1, 2, 17, 511, 512, 513, 3000, 8000])
def test_greedy_output_equals_generate_with_and_without_reuse(
    length: int, long_model: LoadedModel, reference: Callable[..., list[int]]
) -> None:
    prompt = random_ids(length, seed=length)
    request, expected = GenerationRequest(prompt, NEW_TOKENS), reference(prompt)
    scheduler = SteppedScheduler(long_model)
    assert ids_of(scheduler.run(request)) == expected
    again = scheduler.run(request)
    assert ids_of(again) == expected
    # The pool does not copy fewer than 16 rows; they are computed as fast.
    assert reused_tokens(again) == (length - 1 if length > 16 else 0)


def test_output_after_partial_reuse_equals_a_fresh_start(
    long_model: LoadedModel, reference: Callable[..., list[int]]
) -> None:
    shared, scheduler = random_ids(700), SteppedScheduler(long_model)
    scheduler.run(GenerationRequest((*shared, *random_ids(60, 1)), NEW_TOKENS))
    other = (*shared, *random_ids(40, 2))
    chunks = scheduler.run(GenerationRequest(other, NEW_TOKENS))
    assert ids_of(chunks) == reference(other)
    assert reused_tokens(chunks) >= 700


@pytest.mark.parametrize("multi_query", [True, False])
def test_both_forward_passes_agree(tmp_path: Path, multi_query: bool) -> None:
    path = make_checkpoint(tmp_path, multi_query=multi_query)
    module = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    assert LeanForward.supports(module)
    model = load_quietly(path)
    ids = random_ids(40)
    with torch.inference_mode():
        expected = module(torch.tensor([ids])).logits[0]
        for forward in [TransformersForward(module), model.forward]:
            cache = new_cache(model)
            parts = []
            for start, end in [(0, 25), (25, 39), (39, 40)]:
                entry = BatchEntry(ids[start:end], cache, end - start)
                parts.append(forward([entry])[0].clone())
                cache.commit(ids[start:end])
            torch.testing.assert_close(torch.cat(parts), expected, atol=2e-4, rtol=1e-4)


def test_bfloat16_is_close_to_float32(tmp_path: Path) -> None:
    path = make_checkpoint(tmp_path, dtype=torch.bfloat16)
    ids = random_ids(30)
    logits = []
    for dtype in ("float32", "bfloat16"):
        model = load_quietly(path, dtype=dtype)
        assert model.info.dtype == dtype
        with torch.inference_mode():
            logits.append(model.forward([BatchEntry(ids, new_cache(model), 30)])[0])
    similarity = torch.nn.functional.cosine_similarity(logits[0], logits[1], dim=-1)
    assert float(similarity.min()) > 0.99


def test_log_probabilities_are_those_of_the_model(long_model: LoadedModel, long_path: Path) -> None:
    prompt = random_ids(20)
    chunks = run_alone(long_model, GenerationRequest(prompt, 6, logprobs=3))
    scores = [score for chunk in chunks for score in chunk.logprobs]
    ids = ids_of(chunks)
    assert [score.id for score in scores] == ids
    module = AutoModelForCausalLM.from_pretrained(long_path, dtype=torch.float32).eval()
    with torch.inference_mode():
        logits = module(torch.tensor([[*prompt, *ids]])).logits[0]
    for position, score in enumerate(scores, start=len(prompt) - 1):
        expected = logits[position].log_softmax(-1)
        assert score.logprob == pytest.approx(float(expected[score.id]), abs=1e-3)
        assert [id_ for id_, _ in score.top] == expected.topk(3).indices.tolist()


def test_scoring_gives_every_token_its_log_probability(long_model: LoadedModel) -> None:
    ids = random_ids(CHUNK_TOKENS + 30)
    scores = score_alone(long_model, ids, 1)
    with torch.inference_mode():
        logits = long_model.forward([BatchEntry(ids, new_cache(long_model), len(ids))])[0]
    assert scores[0] is None
    assert len(scores) == len(ids)
    for position in (1, CHUNK_TOKENS - 1, CHUNK_TOKENS, len(ids) - 1):
        score = scores[position]
        assert score is not None
        assert score.id == ids[position]
        expected = float(logits[position - 1].log_softmax(-1)[ids[position]])
        assert score.logprob == pytest.approx(expected, abs=1e-3)


def test_sampling_repeats_with_a_seed_and_varies_without(long_model: LoadedModel) -> None:
    def sampled(seed: int | None) -> list[int]:
        sampling = Sampling(temperature=1.5, top_p=0.95, top_k=50, seed=seed)
        request = GenerationRequest(random_ids(5), 20, sampling=sampling)
        return ids_of(run_alone(long_model, request))

    assert sampled(7) == sampled(7)
    assert len({tuple(sampled(None)) for _ in range(4)}) > 1


def test_a_stop_id_ends_the_output_and_is_not_part_of_it(long_model: LoadedModel) -> None:
    prompt = random_ids(12)
    free = ids_of(run_alone(long_model, GenerationRequest(prompt, NEW_TOKENS)))
    stop = next(id_ for id_ in free if id_ != free[0])
    request = GenerationRequest(prompt, NEW_TOKENS, stop_ids=frozenset({stop}))
    chunks = run_alone(long_model, request)
    assert ids_of(chunks) == free[: free.index(stop)]
    assert chunks[-1].finish is FinishReason.STOP


class EndsImmediately(WrappedForward):
    """A forward pass whose likeliest token is always the end of text, whose id is 0."""

    def after(self, logits: list[torch.Tensor]) -> list[torch.Tensor]:
        for entry_logits in logits:
            entry_logits[..., 0] = 1e9
        return logits


def test_end_of_text_ends_the_output_although_its_id_is_falsy(long_model: LoadedModel) -> None:
    assert 0 in long_model.end_ids
    model = replace(long_model, forward=EndsImmediately(long_model.forward))
    chunks = run_alone(model, GenerationRequest(random_ids(3), 9))
    assert ids_of(chunks) == []
    assert chunks[-1].finish is FinishReason.STOP


def test_stop_text_is_recognized_across_tokens_and_removed(long_model: LoadedModel) -> None:
    prompt = random_ids(9)
    free = text_of(run_alone(long_model, GenerationRequest(prompt, NEW_TOKENS)))
    stop = free[4:9]
    chunks = run_alone(long_model, GenerationRequest(prompt, NEW_TOKENS, stop_text=(stop,)))
    assert text_of(chunks) == free[: free.index(stop)]
    assert chunks[-1].finish is FinishReason.STOP


def test_single_line_ends_the_output_and_computes_nothing_after_it(
    long_model: LoadedModel,
) -> None:
    for seed in range(30):  # nearly any token: one of the outputs contains a line feed
        sampling = Sampling(temperature=9.0, seed=seed)
        request = GenerationRequest(random_ids(20), 200, sampling=sampling)
        free = run_alone(long_model, request)
        lines = text_of(free).split("\n")
        if len(lines) > 1 and lines[0].strip():
            break
    assert len(lines) > 1
    ended = run_alone(long_model, replace(request, single_line=True))
    assert text_of(ended) == lines[0]
    assert ended[-1].finish is FinishReason.STOP
    assert ids_of(ended) == ids_of(free)[: len(ids_of(ended))]
    last_letter = lines[0].rstrip()[-1]
    continued = run_alone(
        long_model, replace(request, single_line=True, continue_line_after=(last_letter,))
    )
    assert ids_of(continued) == ids_of(free)


def test_exactly_the_last_chunk_has_a_finish_reason(long_model: LoadedModel) -> None:
    chunks = run_alone(long_model, GenerationRequest(random_ids(9), 7))
    assert [chunk.finish for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].finish is FinishReason.LENGTH
    assert len(ids_of(chunks)) == 7


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_cancelling_stops_within_one_step_and_leaves_a_valid_cache(
    steps: int, long_model: LoadedModel, reference: Callable[..., list[int]]
) -> None:
    prompt, scheduler = random_ids(1029), SteppedScheduler(long_model)
    submission = scheduler.submit(GenerationRequest(prompt, 50))
    for _ in range(steps):
        scheduler.step()
    passes = scheduler.metrics.steps
    assert not submission.done
    submission.job.cancelled.set()
    scheduler.submit(GenerationRequest(random_ids(2), 1))  # an idle scheduler would block
    scheduler.step()
    assert submission.done
    assert scheduler.metrics.steps == passes + 1  # the step of the other request
    scheduler.finish()
    assert ids_of(scheduler.run(GenerationRequest(prompt, NEW_TOKENS))) == reference(prompt)


class FailsLater(WrappedForward):
    """A forward pass that writes the rows of its second call and then fails."""

    def after(self, logits: list[torch.Tensor]) -> list[torch.Tensor]:
        if len(self.rows) == 2:
            raise RuntimeError("planted")
        return logits


def test_a_failed_step_leaves_a_valid_cache(
    long_model: LoadedModel, reference: Callable[..., list[int]]
) -> None:
    prompt = random_ids(1100)
    scheduler = SteppedScheduler(replace(long_model, forward=FailsLater(long_model.forward)))
    with pytest.raises(StarcoderError, match="RuntimeError"):
        scheduler.run(GenerationRequest(prompt, 5))
    (cache,) = scheduler.scheduler.pool.idle
    assert 0 < len(cache.ids) < len(prompt)
    assert tuple(cache.ids) == prompt[: len(cache.ids)]
    chunks = scheduler.run(GenerationRequest(prompt, NEW_TOKENS))
    assert ids_of(chunks) == reference(prompt)
    assert reused_tokens(chunks) > 0


def test_prompts_that_cannot_be_computed_are_refused_with_a_reason(
    long_model: LoadedModel,
) -> None:
    for prompt, error, words in [
        ((), RequestError, "empty"),
        (random_ids(8192), PromptTooLongError, "8191"),
        ((5, 10_000), RequestError, "vocabulary"),
        ((5, -1), RequestError, "vocabulary"),
    ]:
        with pytest.raises(error, match=words):
            run_alone(long_model, GenerationRequest(prompt, 5))


def test_the_output_ends_at_the_context_window(long_model: LoadedModel) -> None:
    chunks = run_alone(long_model, GenerationRequest(random_ids(8190), 50))
    assert len(ids_of(chunks)) <= 2
    assert chunks[-1].finish in (FinishReason.LENGTH, FinishReason.STOP)


def test_streamed_text_never_contains_half_a_character(long_model: LoadedModel) -> None:
    tokenizer = long_model.tokenizer
    text = "a👩‍💻é漢🎉b"
    ids = tokenizer.encode(text)
    assert len(ids) > len(text)  # characters are spread over tokens

    def pieces() -> Iterator[str]:
        decoder = tokenizer.stream()
        yield from (decoder.feed([id_]) for id_ in ids)
        yield decoder.flush()

    texts = list(pieces())
    assert "".join(texts) == text
    assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in texts)


def test_scoring_computes_prefill_chunks_like_a_prompt(long_model: LoadedModel) -> None:
    """With another request running, a step of the scores is as short as any prefill chunk."""
    ids = random_ids(300)
    whole = TokenSequence(score_steps(ids, 2, lambda _: None), new_cache(long_model))
    entry, request = whole.next_entry(40)
    assert len(entry.ids) == entry.num_logits == 40
    assert request is not None
    assert request.forced_ids == ids[1:41]
    scores = score_alone(long_model, ids, 2)
    in_parts: list[tuple[TokenLogprob | None, ...]] = []
    sequence = TokenSequence(score_steps(ids, 2, in_parts.append), new_cache(long_model))
    with torch.inference_mode():
        while sequence.num_left:
            entry, request = sequence.next_entry(23)
            choices = read_logits(long_model.forward([entry]), [request])[0]
            sequence.advance(entry, choices)
    (parts,) = in_parts
    assert len(parts) == len(ids)
    expected = [score.logprob for score in scores if score is not None]
    assert [part.id for part in parts if part is not None] == list(ids[1:])
    assert [part.logprob for part in parts if part is not None] == pytest.approx(expected, abs=1e-3)
