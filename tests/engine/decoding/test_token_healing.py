"""Output with a forced prefix starts with it, is the likeliest that does, and is free after it."""

import json
import time
from collections import Counter
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.stepped_scheduler import (
    SteppedScheduler,
    ids_of,
    new_cache,
    run_alone,
    score_alone,
    text_of,
)
from engine.api import Chunk, GenerationRequest, Sampling
from engine.decoding.sampler import Sampler
from engine.decoding.sequence import Step
from engine.decoding.token_healing import search_forced_prefix
from engine.decoding.vocabulary import Vocabulary
from engine.errors import RequestError
from engine.loading.load import load
from engine.loading.on_disk import EMBEDDED_DIR
from engine.network.batch import BatchEntry
from engine.network.model import LoadedModel
from engine.scripted import ScriptedEngine
from engine.settings import EngineSettings
from engine.tokenizer import Tokenizer

PROMPT = (
    "def mean(numbers):\n    total = 0\n    for number in numbers:\n        total += number\n    "
)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(EMBEDDED_DIR)


@pytest.fixture(scope="module")
def demo() -> LoadedModel:
    return load(EngineSettings(model="demo", device="cpu"), lambda *_: None).model


def write(
    model: LoadedModel,
    prompt: str,
    prefix: str,
    max_new_tokens: int = 12,
    sampling: Sampling | None = None,
    draft: tuple[int, ...] = (),
    stop_text: tuple[str, ...] = (),
) -> list[Chunk]:
    request = GenerationRequest(
        tuple(model.tokenizer.encode(prompt)),
        max_new_tokens,
        forced_prefix=prefix,
        draft_tokens=draft,
        sampling=sampling or Sampling(),
        logprobs=0,
        stop_text=stop_text,
    )
    return run_alone(model, request)


def token_bytes(tokenizer: Tokenizer) -> dict[int, bytes]:
    """The bytes of every token that is valid UTF-8 by itself, by decoding it alone."""
    special = set(tokenizer.special_tokens.values())
    tokens = {}
    for id_ in range(tokenizer.vocab_size):
        if id_ not in special:
            text = tokenizer.decode([id_], skip_special=False)
            if "\N{REPLACEMENT CHARACTER}" not in text:
                tokens[id_] = text.encode()
    return tokens


def test_the_bytes_of_tokens_are_those_that_decoding_gives(tokenizer: Tokenizer) -> None:
    vocabulary = Vocabulary(tokenizer)
    for id_, expected in token_bytes(tokenizer).items():
        assert vocabulary.bytes_of(id_) == expected
    text = "naïve 👩‍💻\t漢字\r\n\x00\x7f"
    written = b"".join(map(vocabulary.bytes_of, tokenizer.encode(text)))
    assert written == text.encode()


@given(st.text("aeinrstpmgh_ XY.é(", min_size=2, max_size=14))
def test_a_real_tokenization_is_never_ruled_out(tokenizer: Tokenizer, text: str) -> None:
    vocabulary = embedded_vocabulary()
    ids, rest = tokenizer.encode(text), text.encode()
    for id_ in ids[:-1]:
        rest = rest[len(vocabulary.bytes_of(id_)) :]
        for size in range(1, len(rest) + 1):
            assert vocabulary.can_continue(id_, rest[:size])


def test_a_cut_that_no_text_has_is_ruled_out(tokenizer: Tokenizer) -> None:
    vocabulary = embedded_vocabulary()
    first, *_ = tokenizer.encode("p")
    assert len(tokenizer.encode("print")) == 1
    assert not vocabulary.can_continue(first, b"rin")
    assert vocabulary.can_continue(first, b"_")  # words end there


def test_no_special_token_is_compatible_with_its_name(tokenizer: Tokenizer) -> None:
    vocabulary, special = embedded_vocabulary(), tokenizer.special_tokens
    assert special
    for name in special:
        compatible = vocabulary.tokens_compatible_with(name.encode())
        assert not set(special.values()) & set(compatible)
    assert not set(special.values()) & set(vocabulary.tokens_compatible_with(b"<"))


@cache
def embedded_vocabulary() -> Vocabulary:
    return Vocabulary(Tokenizer.from_file(EMBEDDED_DIR))


@given(
    st.text(min_size=1, max_size=8) | st.sampled_from(["retu", " ", "    ", "\n  ", "é", "<fim"])
)
def test_compatible_tokens_are_those_of_a_full_search(prefix: str) -> None:
    vocabulary = embedded_vocabulary()
    prefix_bytes = prefix.encode()
    tokens = {id_: vocabulary.bytes_of(id_) for id_ in range(49152)}
    expected = {
        id_
        for id_, token in tokens.items()
        if token and (prefix_bytes.startswith(token) or token.startswith(prefix_bytes))
    }
    compatible = vocabulary.tokens_compatible_with(prefix_bytes)
    assert len(compatible) == len(set(compatible))
    assert set(compatible) == expected


def vocabulary_of(tokens: dict[str, int], model: str = "WordLevel") -> Vocabulary:
    content = {"model": {"type": model, "vocab": tokens, "unk_token": "?"}}
    return Vocabulary(Tokenizer.from_json(json.dumps(content)))


def test_bytes_at_the_end_of_the_order() -> None:
    vocabulary = vocabulary_of({"ÿ": 1, "ÿÿ": 2, "þ": 3, "ÿa": 4})
    assert vocabulary.tokens_compatible_with(b"\xff") == [1, 4, 2]
    assert vocabulary.tokens_compatible_with(b"\xfe") == [3]
    assert vocabulary.tokens_compatible_with(b"\xff\xff") == [1, 2]


def tokenizations_by_brute_force(
    model: LoadedModel, prompt: str, prefix: str, min_score: float
) -> dict[tuple[int, ...], float]:
    """All tokenizations of a forced prefix with a log-probability above `min_score`.

    A tokenization is ids whose bytes, joined, start with `prefix`; the last id completes it.
    """
    tokens = token_bytes(model.tokenizer)
    prompt_ids = model.tokenizer.encode(prompt)
    tokenizations: dict[tuple[int, ...], float] = {}

    def walk(path: tuple[int, ...], written: bytes, score: float) -> None:
        if written.startswith(prefix.encode()):
            tokenizations[path] = score
            return
        with torch.inference_mode():
            entry = BatchEntry((*prompt_ids, *path), new_cache(model))
            log_probs = model.forward([entry])[0][0].log_softmax(-1)
        rest = prefix.encode()[len(written) :]
        for id_, token in tokens.items():
            if token and (rest.startswith(token) or token.startswith(rest)):
                longer_score = score + float(log_probs[id_])
                if longer_score > min_score:
                    walk((*path, id_), written + token, longer_score)

    walk((), b"", 0.0)
    return tokenizations


@pytest.mark.parametrize(
    "prefix",
    ["return", "retu", "if", "total", "tot", "pri", "get_v", "numbers_", "isi", "    ", "for n"],
)
def test_the_tokenization_is_the_likeliest_of_all(demo: LoadedModel, prefix: str) -> None:
    chunks = write(demo, PROMPT, prefix)
    assert text_of(chunks).startswith(prefix)
    min_score = -1.0
    while not (paths := tokenizations_by_brute_force(demo, PROMPT, prefix, min_score)):
        min_score *= 2
    path = list(max(paths, key=paths.__getitem__))
    assert ids_of(chunks)[: len(path)] == path
    # After the forced prefix decoding is free: it equals greedy decoding after the path.
    rest = demo.tokenizer.encode(PROMPT) + path
    free = run_alone(demo, GenerationRequest(tuple(rest), 12 - len(path)))
    assert ids_of(chunks) == path + ids_of(free)


@settings(max_examples=25, deadline=None)
@given(
    prefix=st.text(max_size=6) | st.sampled_from(["👩‍💻", "é", "   ", "\n\n", "<fim_middle>", "9"]),
    temperature=st.sampled_from([0.0, 1.0]),
    draft=st.sampled_from(["", "return total", "é = 1"]),
)
def test_every_output_starts_with_the_forced_prefix(
    demo: LoadedModel, prefix: str, temperature: float, draft: str
) -> None:
    sampling = Sampling(temperature=temperature, seed=1)
    draft_tokens = tuple(demo.tokenizer.encode(draft))
    max_new_tokens = 4 + len(prefix.encode())
    chunks = write(demo, PROMPT, prefix, max_new_tokens, sampling, draft_tokens)
    assert text_of(chunks).startswith(prefix)
    assert ids_of(chunks) == ids_of(write(demo, PROMPT, prefix, max_new_tokens, sampling))


@pytest.mark.parametrize("prefix", ["zz", "pri", "retur", "isi"])
def test_log_probabilities_are_relative_to_the_allowed_tokens(
    demo: LoadedModel, prefix: str
) -> None:
    chunks = write(demo, PROMPT, prefix, 6)
    logprobs = [score.logprob for chunk in chunks for score in chunk.logprobs]
    paths = tokenizations_by_brute_force(demo, PROMPT, prefix, -22.0)
    ids = ids_of(chunks)
    path = next(path for path in paths if path == tuple(ids[: len(path)]))
    total = torch.tensor(list(paths.values())).logsumexp(0)
    # Their sum is the likelihood of the tokenization among all of the forced prefix.
    assert sum(logprobs[: len(path)]) == pytest.approx(paths[path] - float(total), abs=0.05)
    # After the forced prefix they are the model's own.
    scores = score_alone(demo, (*demo.tokenizer.encode(PROMPT), *ids))
    for logprob, score in zip(logprobs[len(path) :], scores[len(path) - len(ids) :], strict=True):
        assert score is not None
        assert logprob == pytest.approx(score.logprob, abs=1e-3)


def test_whole_tokenizations_are_compared_where_single_tokens_mislead(demo: LoadedModel) -> None:
    """`p` alone is likelier than `print`, because it starts many words, but it is a dead end."""
    paths = tokenizations_by_brute_force(demo, PROMPT, "pri", -16.0)
    tokenizer = demo.tokenizer
    chosen = ids_of(write(demo, PROMPT, "pri", 4))[:1]
    score_of_first = {tokenizer.decode(path[:1]): score for path, score in paths.items()}
    assert tokenizer.decode(chosen) == "print"
    with torch.inference_mode():
        entry = BatchEntry(tuple(tokenizer.encode(PROMPT)), new_cache(demo))
        logits = demo.forward([entry])[0][0]
    assert logits[tokenizer.encode("p")[0]] > logits[chosen[0]]
    assert score_of_first["print"] > score_of_first.get("p", -16.0)


def test_tokenizations_are_drawn_by_their_probability(demo: LoadedModel) -> None:
    paths = tokenizations_by_brute_force(demo, PROMPT, "t", -16.0)
    scores = torch.tensor(list(paths.values()))
    shares = dict(zip(paths, (scores - scores.logsumexp(0)).exp().tolist(), strict=True))
    drawn = Counter(
        ids_of(write(demo, PROMPT, "t", 1, Sampling(temperature=1.0, seed=seed)))[0]
        for seed in range(300)
    )
    for path, share in shares.items():
        if len(path) == 1 and share > 0.02:
            assert drawn[path[0]] / 300 == pytest.approx(share, abs=0.09)


@pytest.mark.parametrize(
    ("temperature", "nats_below_best", "is_visited"),
    [(1.0, 2.5, True), (1.0, 3.5, False), (0.0, 2.5, False)],
)
def test_less_likely_tokenizations_are_visited_only_if_sampling_may_draw_them(
    temperature: float, nats_below_best: float, is_visited: bool
) -> None:
    vocabulary = vocabulary_of({"12": 0, "1": 1, "2": 2})
    logits = torch.tensor([[0.0, -nats_below_best, -9.0]])
    sampler = Sampler(Sampling(temperature=temperature), ())
    search = search_forced_prefix(logits, b"12", [0], vocabulary, sampler, 4)
    assert next(search, None) == (Step((1,), 0) if is_visited else None)


def test_the_time_of_the_prefill_is_measured(demo: LoadedModel) -> None:
    usage = write(demo, PROMPT, "retu")[-1].usage
    assert usage is not None
    assert usage.prefill_ms > 0


def test_stop_text_applies_only_after_the_forced_prefix(demo: LoadedModel) -> None:
    free = text_of(write(demo, PROMPT, "retu"))
    assert free.startswith("return")
    again = free.index("retu", 1)
    assert text_of(write(demo, PROMPT, "retu", stop_text=("retu",))) == free[:again]
    stopped = text_of(write(demo, PROMPT, "retu", stop_text=("rn",)))
    assert stopped == "retu"


def test_output_too_short_for_the_forced_prefix_contains_its_start(demo: LoadedModel) -> None:
    chunks = write(demo, PROMPT, "zqzqzqzq", 2)
    assert len(ids_of(chunks)) == 2
    assert "zqzqzqzq".startswith(text_of(chunks))


def test_a_lone_surrogate_is_refused_with_a_reason(demo: LoadedModel) -> None:
    with pytest.raises(RequestError, match="surrogate"):
        write(demo, PROMPT, "\ud83d")


def test_a_tokenizer_that_is_not_byte_level_is_refused_with_a_reason() -> None:
    with pytest.raises(RequestError, match="forced_prefix"):
        vocabulary_of({"▁the": 1, "end": 2}).tokens_compatible_with(b" the")


@pytest.mark.parametrize(("script", "expected"), [("rn 1", "return 1"), ("x = e2", "retux = ")])
async def test_the_scripted_engine_keeps_the_contract(script: str, expected: str) -> None:
    engine = ScriptedEngine(lambda _: script)
    request = GenerationRequest((7,), 50, forced_prefix="retu", stop_text=("e",))
    assert "".join([chunk.text async for chunk in engine.stream(request)]) == expected


LONG_PREFIX = "the_prefix = compute(another_value, 12)\n" * 55


def test_a_long_forced_prefix_is_computed_in_short_steps(demo: LoadedModel) -> None:
    """Other requests run between the steps, and a cancellation takes effect there."""
    scheduler = SteppedScheduler(demo)
    prefix_ids = demo.tokenizer.encode(LONG_PREFIX)
    assert len(prefix_ids) > 700
    request = GenerationRequest((7,), len(prefix_ids) + 8, forced_prefix=LONG_PREFIX, logprobs=1)
    long = scheduler.submit(request)
    short = scheduler.submit(GenerationRequest((8, 9), 2))
    durations = []
    while scheduler.is_busy:
        started = time.perf_counter()
        scheduler.step()
        durations.append(time.perf_counter() - started)
        if not short.done:
            assert not long.done
    assert text_of(long.chunks).startswith(LONG_PREFIX)
    scores = [score for chunk in long.chunks for score in chunk.logprobs]
    assert scores[0].logprob == 0.0
    assert scores[0].top == ((scores[0].id, 0.0),)
    # In one step, the search took several seconds and a tensor of all logits.
    assert max(durations) < 1.0


def test_a_long_forced_prefix_stops_when_it_is_cancelled(demo: LoadedModel) -> None:
    scheduler = SteppedScheduler(demo)
    prefix = LONG_PREFIX + "retu"
    request = GenerationRequest((7,), 2000, forced_prefix=prefix)
    long = scheduler.submit(request)
    scheduler.step()
    assert not long.done
    long.job.cancelled.set()
    scheduler.step()
    assert long.done
    assert not long.chunks


def test_a_token_follows_a_rest_of_any_length_as_it_follows_the_start() -> None:
    vocabulary = embedded_vocabulary()
    long = b"print_the_rest" * 1000
    longest = max(map(len, Tokenizer.from_file(EMBEDDED_DIR).bytes_by_id.values()))
    assert vocabulary.tokens_compatible_with(long) == vocabulary.tokens_compatible_with(
        long[: longest + 1]
    )
