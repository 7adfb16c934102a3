"""The decoding loop against transformers' own `generate`, and its promises about text and cache."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from engine.api import Chunk, FinishReason, GenerationRequest, Sampling
from engine.decoding.decoder import PREFILL_CHUNK, Cancelled
from engine.errors import PromptTooLongError, RequestError
from engine.kv_cache.cache import KVCache
from engine.loading.load import Loaded, load
from engine.network.lean_forward import LeanForward
from engine.network.transformers_forward import ModuleForward
from engine.settings import EngineSettings
from tests.checkpoint_maker import make_checkpoint

NEW_TOKENS = 24


def never() -> bool:
    return False


def load_quietly(path: Path, **settings: Any) -> Loaded:
    return load(EngineSettings(model=str(path), **settings), lambda *_: None)


@pytest.fixture(scope="module")
def long_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("long"), n_positions=8192)


@pytest.fixture(scope="module")
def long_model(long_path: Path) -> Loaded:
    return load_quietly(long_path)


@pytest.fixture(scope="module")
def reference(long_path: Path) -> Callable[..., list[int]]:
    model = AutoModelForCausalLM.from_pretrained(long_path, dtype=torch.float32).eval()

    def generate(ids: tuple[int, ...], count: int = NEW_TOKENS) -> list[int]:
        out = model.generate(
            torch.tensor([ids]), max_new_tokens=count, do_sample=False, pad_token_id=0
        )
        new = out[0, len(ids) :].tolist()
        return new[: new.index(0)] if 0 in new else new

    return generate


def random_ids(count: int, seed: int = 0) -> tuple[int, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(19, 360, (count,), generator=generator).tolist())


def run(model: Loaded, request: GenerationRequest, cache: KVCache | None = None) -> list[Chunk]:
    return list(model.decoder.generate(request, cache or KVCache(model.cache_shape), never))


def ids_of(chunks: list[Chunk]) -> list[int]:
    return [id_ for chunk in chunks for id_ in chunk.ids]


@pytest.mark.parametrize("length", [1, 2, 17, 511, 512, 513, 3000, 8000])
def test_greedy_equals_generate_with_and_without_reuse(
    length: int, long_model: Loaded, reference: Callable[..., list[int]]
) -> None:
    prompt = random_ids(length, seed=length)
    request, expected = GenerationRequest(prompt, NEW_TOKENS), reference(prompt)
    cache = KVCache(long_model.cache_shape)
    assert ids_of(run(long_model, request, cache)) == expected
    again = run(long_model, request, cache)
    assert ids_of(again) == expected
    assert again[-1].usage is not None
    assert again[-1].usage.reused_tokens == length - 1


def test_reuse_of_a_part_equals_a_fresh_start(
    long_model: Loaded, reference: Callable[..., list[int]]
) -> None:
    shared, cache = random_ids(700), KVCache(long_model.cache_shape)
    run(long_model, GenerationRequest((*shared, *random_ids(60, 1)), NEW_TOKENS), cache)
    other = (*shared, *random_ids(40, 2))
    chunks = run(long_model, GenerationRequest(other, NEW_TOKENS), cache)
    assert ids_of(chunks) == reference(other)
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.reused_tokens >= 700


@pytest.mark.parametrize("multi_query", [True, False])
def test_both_forwards_agree(tmp_path: Path, multi_query: bool) -> None:
    path = make_checkpoint(tmp_path, multi_query=multi_query)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    assert LeanForward.fits(model) is multi_query
    loaded = load_quietly(path)
    ids = torch.tensor(random_ids(40))
    with torch.inference_mode():
        expected = model(ids[None]).logits[0]
        for forward in [ModuleForward(model), loaded.decoder.forward]:
            cache = KVCache(loaded.cache_shape)
            first = forward(ids[:25], cache, last=25)
            cache.commit(ids[:25].tolist())
            rest = forward(ids[25:39], cache, last=14)
            cache.commit(ids[25:39].tolist())
            last = forward(ids[39:], cache)
            got = torch.cat([first, rest, last])
            torch.testing.assert_close(got, expected, atol=2e-4, rtol=1e-4)


def test_bfloat16_is_near_float32(tmp_path: Path) -> None:
    path = make_checkpoint(tmp_path, dtype=torch.bfloat16)
    ids = torch.tensor(random_ids(30))
    logits = []
    for dtype in ("float32", "bfloat16"):
        loaded = load_quietly(path, dtype=dtype)
        assert loaded.info.dtype == dtype
        with torch.inference_mode():
            logits.append(loaded.decoder.forward(ids, KVCache(loaded.cache_shape), last=30))
    similar = torch.nn.functional.cosine_similarity(logits[0], logits[1], dim=-1)
    assert float(similar.min()) > 0.99


def test_logprobs_are_those_of_the_model(long_model: Loaded, long_path: Path) -> None:
    prompt = random_ids(20)
    chunks = run(long_model, GenerationRequest(prompt, 6, logprobs=3))
    told = [score for chunk in chunks for score in chunk.logprobs]
    ids = ids_of(chunks)
    assert [score.id for score in told] == ids
    model = AutoModelForCausalLM.from_pretrained(long_path, dtype=torch.float32).eval()
    with torch.inference_mode():
        logits = model(torch.tensor([[*prompt, *ids]])).logits[0]
    for at, score in enumerate(told, start=len(prompt) - 1):
        expected = logits[at].log_softmax(-1)
        assert score.logprob == pytest.approx(float(expected[score.id]), abs=1e-3)
        assert [id_ for id_, _ in score.top] == expected.topk(3).indices.tolist()


def test_score_gives_every_prompt_token_its_logprob(long_model: Loaded) -> None:
    ids = random_ids(PREFILL_CHUNK + 30)
    scores = long_model.decoder.score(ids, 1, KVCache(long_model.cache_shape), never)
    with torch.inference_mode():
        logits = long_model.decoder.forward(
            torch.tensor(ids), KVCache(long_model.cache_shape), last=len(ids)
        )
    assert scores[0] is None
    assert len(scores) == len(ids)
    for at in (1, PREFILL_CHUNK - 1, PREFILL_CHUNK, len(ids) - 1):
        score = scores[at]
        assert score is not None
        assert score.id == ids[at]
        expected = float(logits[at - 1].log_softmax(-1)[ids[at]])
        assert score.logprob == pytest.approx(expected, abs=1e-3)


def test_sampling_repeats_with_a_seed_and_varies_without(long_model: Loaded) -> None:
    def sampled(seed: int | None) -> list[int]:
        sampling = Sampling(temperature=1.5, top_p=0.95, top_k=50, seed=seed)
        return ids_of(run(long_model, GenerationRequest(random_ids(5), 20, sampling=sampling)))

    assert sampled(7) == sampled(7)
    assert len({tuple(sampled(None)) for _ in range(4)}) > 1


def test_a_stop_id_ends_the_answer_and_is_no_part_of_it(long_model: Loaded) -> None:
    prompt = random_ids(12)
    free = ids_of(run(long_model, GenerationRequest(prompt, NEW_TOKENS)))
    stop = next(id_ for id_ in free if id_ != free[0])
    chunks = run(long_model, GenerationRequest(prompt, NEW_TOKENS, stop_ids=frozenset({stop})))
    assert ids_of(chunks) == free[: free.index(stop)]
    assert chunks[-1].finish is FinishReason.STOP


def test_end_of_text_ends_the_answer_though_its_id_is_falsy(long_model: Loaded) -> None:
    assert 0 in long_model.decoder.end_ids
    forward = long_model.decoder.forward

    class EndsAtOnce:
        def __call__(self, ids: torch.Tensor, cache: KVCache, *, last: int = 1) -> Any:
            logits = forward(ids, cache, last=last)
            logits[..., 0] = 1e9
            return logits

        batch = forward.batch

    decoder = type(long_model.decoder)(
        EndsAtOnce(),
        long_model.decoder.tokenizer,
        long_model.decoder.context_window,
        long_model.decoder.vocab_size,
        long_model.decoder.end_ids,
    )
    chunks = list(
        decoder.generate(
            GenerationRequest(random_ids(3), 9), KVCache(long_model.cache_shape), never
        )
    )
    assert ids_of(chunks) == []
    assert chunks[-1].finish is FinishReason.STOP


def test_stop_text_is_found_across_tokens_and_swallowed(long_model: Loaded) -> None:
    prompt = random_ids(9)
    free = "".join(c.text for c in run(long_model, GenerationRequest(prompt, NEW_TOKENS)))
    stop = free[4:9]
    chunks = run(long_model, GenerationRequest(prompt, NEW_TOKENS, stop_text=(stop,)))
    assert "".join(chunk.text for chunk in chunks) == free[: free.index(stop)]
    assert chunks[-1].finish is FinishReason.STOP


def test_a_line_ends_the_answer_and_nothing_behind_it_is_computed(long_model: Loaded) -> None:
    for seed in range(30):  # nearly any id, sooner or later line ends among them
        sampling = Sampling(temperature=9.0, seed=seed)
        request = GenerationRequest(random_ids(20), 200, sampling=sampling)
        free = run(long_model, request)
        lines = "".join(chunk.text for chunk in free).split("\n")
        if len(lines) > 1 and lines[0].strip():
            break
    assert len(lines) > 1
    ended = run(long_model, replace(request, single_line=True))
    assert "".join(chunk.text for chunk in ended) == lines[0]
    assert ended[-1].finish is FinishReason.STOP
    assert ids_of(ended) == ids_of(free)[: len(ids_of(ended))]
    going_on = run(
        long_model, replace(request, single_line=True, continue_line_after=(lines[0].rstrip()[-1],))
    )
    assert ids_of(going_on) == ids_of(free)


def test_exactly_the_last_chunk_has_a_reason(long_model: Loaded) -> None:
    chunks = run(long_model, GenerationRequest(random_ids(9), 7))
    assert [chunk.finish for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].finish is FinishReason.LENGTH
    assert len(ids_of(chunks)) == 7


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_cancelling_stops_within_one_step_and_leaves_a_sound_cache(
    steps: int, long_model: Loaded, reference: Callable[..., list[int]]
) -> None:
    prompt, cache = random_ids(PREFILL_CHUNK * 2 + 5), KVCache(long_model.cache_shape)
    done = 0

    def after_some() -> bool:
        nonlocal done
        done += 1
        return done > steps

    with pytest.raises(Cancelled):
        list(long_model.decoder.generate(GenerationRequest(prompt, 50), cache, after_some))
    assert done == steps + 1
    assert ids_of(run(long_model, GenerationRequest(prompt, NEW_TOKENS), cache)) == reference(
        prompt
    )


def test_a_step_that_fails_leaves_no_false_claim_in_the_cache(
    long_model: Loaded, reference: Callable[..., list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt, cache = random_ids(600), KVCache(long_model.cache_shape)
    real, calls = LeanForward._attend, 0

    def fails_later(self: LeanForward, *args: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 4:  # in the second layer of the second prefill step
            raise RuntimeError("planted")
        return real(self, *args)

    monkeypatch.setattr(LeanForward, "_attend", fails_later)
    with pytest.raises(RuntimeError, match="planted"):
        run(long_model, GenerationRequest(prompt, 5), cache)
    monkeypatch.undo()
    assert len(cache.ids) == PREFILL_CHUNK
    assert ids_of(run(long_model, GenerationRequest(prompt, NEW_TOKENS), cache)) == reference(
        prompt
    )


def test_prompts_that_cannot_be_computed_are_refused_in_words(long_model: Loaded) -> None:
    for prompt, error, words in [
        ((), RequestError, "empty"),
        (random_ids(8192), PromptTooLongError, "8191"),
        ((5, 10_000), RequestError, "vocabulary"),
        ((5, -1), RequestError, "vocabulary"),
    ]:
        with pytest.raises(error, match=words):
            run(long_model, GenerationRequest(prompt, 5))


def test_an_answer_ends_where_the_window_does(long_model: Loaded) -> None:
    chunks = run(long_model, GenerationRequest(random_ids(8190), 50))
    assert len(ids_of(chunks)) <= 2
    assert chunks[-1].finish in (FinishReason.LENGTH, FinishReason.STOP)


def test_streamed_text_never_holds_half_a_character(long_model: Loaded) -> None:
    tokenizer = long_model.decoder.tokenizer
    text = "a👩‍💻é漢🎉b"
    ids = tokenizer.encode(text)
    assert len(ids) > len(text)  # so characters are spread over tokens

    def pieces() -> Iterator[str]:
        decoder = tokenizer.stream()
        yield from (decoder.feed([id_]) for id_ in ids)
        yield decoder.flush()

    found = list(pieces())
    assert "".join(found) == text
    assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in found)
