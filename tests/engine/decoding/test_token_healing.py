"""An answer begins with what it must, is the likeliest that does, and is free after that."""

from collections import Counter
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.api import Chunk, GenerationRequest, Sampling
from engine.decoding.vocabulary import Vocabulary
from engine.errors import RequestError
from engine.kv_cache.cache import KVCache
from engine.loading.catalog import EMBEDDED_DIR
from engine.loading.load import Loaded, load
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
def demo() -> Loaded:
    return load(EngineSettings(model="demo", device="cpu"), lambda *_: None)


def write(
    model: Loaded,
    prompt: str,
    begin: str,
    new: int = 12,
    sampling: Sampling | None = None,
    draft: tuple[int, ...] = (),
    stop_text: tuple[str, ...] = (),
) -> list[Chunk]:
    request = GenerationRequest(
        tuple(model.decoder.tokenizer.encode(prompt)),
        new,
        forced_prefix=begin,
        draft_tokens=draft,
        sampling=sampling or Sampling(),
        logprobs=0,
        stop_text=stop_text,
    )
    return list(model.decoder.generate(request, KVCache(model.cache_shape), lambda: False))


def text_of(chunks: list[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks)


def ids_of(chunks: list[Chunk]) -> list[int]:
    return [id_ for chunk in chunks for id_ in chunk.ids]


def token_bytes(tokenizer: Tokenizer) -> dict[int, bytes]:
    """What every id writes, found without the table of letters: between two ids that hide none."""
    special = set(tokenizer.special_tokens.values())
    inner = tokenizer._inner
    found = {}
    for id_ in range(tokenizer.vocab_size):
        if id_ not in special:
            text = inner.decode([id_], skip_special_tokens=False)
            if "\N{REPLACEMENT CHARACTER}" not in text:
                found[id_] = text.encode()
    return found


def test_the_bytes_of_ids_are_those_that_decoding_gives(tokenizer: Tokenizer) -> None:
    for id_, expected in token_bytes(tokenizer).items():
        assert tokenizer.vocabulary.bytes_of(id_) == expected
    text = "naïve 👩‍💻\t漢字\r\n\x00\x7f"
    written = b"".join(map(tokenizer.vocabulary.bytes_of, tokenizer.encode(text)))
    assert written == text.encode()


@given(st.text("aeinrstpmgh_ XY.é(", min_size=2, max_size=14))
def test_wherever_text_is_cut_it_may_be_cut(tokenizer: Tokenizer, text: str) -> None:
    ids, rest = tokenizer.encode(text), text.encode()
    for id_ in ids[:-1]:
        rest = rest[len(tokenizer.vocabulary.bytes_of(id_)) :]
        for size in range(1, len(rest) + 1):
            assert tokenizer.may_go_on(id_, rest[:size])


def test_where_no_text_is_ever_cut_is_known(tokenizer: Tokenizer) -> None:
    first, *_ = tokenizer.encode("p")
    whole = tokenizer.encode("print")
    assert len(whole) == 1
    assert not tokenizer.may_go_on(first, b"rin")
    assert tokenizer.may_go_on(first, b"_")  # words end there


def test_no_special_token_agrees_with_its_name(tokenizer: Tokenizer) -> None:
    special = tokenizer.special_tokens
    assert special
    for name in special:
        assert not set(special.values()) & set(tokenizer.vocabulary.agreeing(name.encode()))
    assert not set(special.values()) & set(tokenizer.vocabulary.agreeing(b"<"))


@cache
def embedded_vocabulary() -> Vocabulary:
    return Tokenizer.from_file(EMBEDDED_DIR).vocabulary


@given(
    st.text(min_size=1, max_size=8) | st.sampled_from(["retu", " ", "    ", "\n  ", "é", "<fim"])
)
def test_those_that_agree_are_those_that_a_search_of_all_finds(begin: str) -> None:
    vocabulary = embedded_vocabulary()
    wanted = begin.encode()
    every = {id_: vocabulary.bytes_of(id_) for id_ in range(49152)}
    expected = {
        id_
        for id_, found in every.items()
        if found and (wanted.startswith(found) or found.startswith(wanted))
    }
    agreeing = vocabulary.agreeing(wanted)
    assert len(agreeing) == len(set(agreeing))
    assert set(agreeing) == expected


def test_bytes_at_the_end_of_the_order() -> None:
    vocabulary = Vocabulary({"ÿ": 1, "ÿÿ": 2, "þ": 3, "ÿa": 4})
    assert vocabulary.agreeing(b"\xff") == [1, 4, 2]
    assert vocabulary.agreeing(b"\xfe") == [3]
    assert vocabulary.agreeing(b"\xff\xff") == [1, 2]


def ways_by_brute_force(
    model: Loaded, prompt: str, begin: str, least: float
) -> dict[tuple[int, ...], float]:
    """All ways to begin so and their log-probabilities, as far as these are above `least`.

    A way is ids whose bytes, joined, begin with `begin`, the last id being the one that finishes
    it.
    """
    every = token_bytes(model.decoder.tokenizer)
    before = model.decoder.tokenizer.encode(prompt)
    ways: dict[tuple[int, ...], float] = {}

    def walk(path: tuple[int, ...], written: bytes, so_far: float) -> None:
        if written.startswith(begin.encode()):
            ways[path] = so_far
            return
        with torch.inference_mode():
            ids, cache = torch.tensor([*before, *path]), KVCache(model.cache_shape)
            after = model.decoder.forward(ids, cache)[0].log_softmax(-1)
        rest = begin.encode()[len(written) :]
        for id_, found in every.items():
            if found and (rest.startswith(found) or found.startswith(rest)):
                value = so_far + float(after[id_])
                if value > least:
                    walk((*path, id_), written + found, value)

    walk((), b"", 0.0)
    return ways


@pytest.mark.parametrize(
    "begin",
    ["return", "retu", "if", "total", "tot", "pri", "get_v", "numbers_", "isi", "    ", "for n"],
)
def test_it_is_the_likeliest_way_to_begin_so(demo: Loaded, begin: str) -> None:
    chunks = write(demo, PROMPT, begin)
    assert text_of(chunks).startswith(begin)
    least = -1.0
    while not (ways := ways_by_brute_force(demo, PROMPT, begin, least)):
        least *= 2
    path = list(max(ways, key=ways.__getitem__))
    assert ids_of(chunks)[: len(path)] == path
    # And free after that: what greedy decoding writes behind the path.
    rest = demo.decoder.tokenizer.encode(PROMPT) + path
    request = GenerationRequest(tuple(rest), 12 - len(path))
    free = list(demo.decoder.generate(request, KVCache(demo.cache_shape), lambda: False))
    assert ids_of(chunks) == path + ids_of(free)


@settings(max_examples=25, deadline=None)
@given(
    forced_prefix=st.text(max_size=6)
    | st.sampled_from(["👩‍💻", "é", "   ", "\n\n", "<fim_middle>", "9"]),
    temperature=st.sampled_from([0.0, 1.0]),
    draft=st.sampled_from(["", "return total", "é = 1"]),
)
def test_every_answer_begins_as_asked(
    demo: Loaded, begin: str, temperature: float, draft: str
) -> None:
    sampling = Sampling(temperature=temperature, seed=1)
    drafted = tuple(demo.decoder.tokenizer.encode(draft))
    new = 4 + len(begin.encode())
    chunks = write(demo, PROMPT, begin, new, sampling, drafted)
    assert text_of(chunks).startswith(begin)
    assert ids_of(chunks) == ids_of(write(demo, PROMPT, begin, new, sampling))


@pytest.mark.parametrize("begin", ["zz", "pri", "retur", "isi"])
def test_log_probabilities_are_given_the_beginning_and_then_free(demo: Loaded, begin: str) -> None:
    chunks = write(demo, PROMPT, begin, 6)
    told = [score.logprob for chunk in chunks for score in chunk.logprobs]
    ways = ways_by_brute_force(demo, PROMPT, begin, -22.0)
    ids = ids_of(chunks)
    path = next(way for way in ways if way == tuple(ids[: len(way)]))
    every = torch.tensor(list(ways.values())).logsumexp(0)
    # Together they say how likely the way is among all that begin so...
    assert sum(told[: len(path)]) == pytest.approx(ways[path] - float(every), abs=0.05)
    # ... and after it they are the model's own.
    whole = [*demo.decoder.tokenizer.encode(PROMPT), *ids]
    scores = demo.decoder.score(whole, 0, KVCache(demo.cache_shape), lambda: False)
    for value, score in zip(told[len(path) :], scores[len(path) - len(ids) :], strict=True):
        assert score is not None
        assert value == pytest.approx(score.logprob, abs=1e-3)


def test_where_single_ids_mislead_whole_ways_are_compared(demo: Loaded) -> None:
    """`p` begins so much that it is likelier than `print`, and leads nowhere."""
    ways = ways_by_brute_force(demo, PROMPT, "pri", -16.0)
    tokenizer = demo.decoder.tokenizer
    chosen = ids_of(write(demo, PROMPT, "pri", 4))[:1]
    first = {tokenizer.decode(way[:1]): value for way, value in ways.items()}
    assert tokenizer.decode(chosen) == "print"
    with torch.inference_mode():
        prompt = torch.tensor(tokenizer.encode(PROMPT))
        logits = demo.decoder.forward(prompt, KVCache(demo.cache_shape))[0]
    assert logits[tokenizer.encode("p")[0]] > logits[chosen[0]]
    assert first["print"] > first.get("p", -16.0)


def test_ways_are_drawn_by_their_probability(demo: Loaded) -> None:
    ways = ways_by_brute_force(demo, PROMPT, "t", -16.0)
    scores = torch.tensor(list(ways.values()))
    shares = dict(zip(ways, (scores - scores.logsumexp(0)).exp().tolist(), strict=True))
    drawn = Counter(
        ids_of(write(demo, PROMPT, "t", 1, Sampling(temperature=1.0, seed=seed)))[0]
        for seed in range(300)
    )
    for way, share in shares.items():
        if len(way) == 1 and share > 0.02:
            assert drawn[way[0]] / 300 == pytest.approx(share, abs=0.09)


def test_stop_text_holds_only_after_the_beginning(demo: Loaded) -> None:
    free = text_of(write(demo, PROMPT, "retu"))
    assert free.startswith("return")
    again = free.index("retu", 1)
    assert text_of(write(demo, PROMPT, "retu", stop_text=("retu",))) == free[:again]
    stopped = text_of(write(demo, PROMPT, "retu", stop_text=("rn",)))
    assert stopped == "retu"


def test_an_answer_too_short_for_its_beginning_has_what_fits(demo: Loaded) -> None:
    chunks = write(demo, PROMPT, "zqzqzqzq", 2)
    assert len(ids_of(chunks)) == 2
    assert "zqzqzqzq".startswith(text_of(chunks))


def test_half_a_character_is_refused_in_words(demo: Loaded) -> None:
    with pytest.raises(RequestError, match="surrogate"):
        write(demo, PROMPT, "\ud83d")


def test_a_tokenizer_that_is_not_byte_level_is_refused_in_words(tokenizer: Tokenizer) -> None:
    with pytest.raises(RequestError, match="forced_prefix"):
        Vocabulary({"▁the": 1, "end": 2}).agreeing(b" the")
    assert tokenizer.vocabulary is tokenizer.vocabulary  # made once


@pytest.mark.parametrize(("script", "expected"), [("rn 1", "return 1"), ("x = e2", "retux = ")])
async def test_the_scripted_engine_keeps_the_contract(script: str, expected: str) -> None:
    engine = ScriptedEngine(lambda _: script)
    request = GenerationRequest((7,), 50, forced_prefix="retu", stop_text=("e",))
    assert "".join([chunk.text async for chunk in engine.stream(request)]) == expected
