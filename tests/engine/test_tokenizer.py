"""Tokenizers in SentencePiece's form: pieces of text stay as they are, also in a stream."""

import json
import random
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, pre_tokenizers

from engine.decoding.vocabulary import Vocabulary
from engine.loading.on_disk import EMBEDDED_DIR
from engine.tokenizer import Tokenizer
from tests.llama_checkpoint import INFILLING, tokenizer_json

TOKENIZERS = {form: Tokenizer.from_json(tokenizer_json(form)) for form in ("legacy", "metaspace")}

texts = st.lists(
    st.one_of(
        st.sampled_from(
            [
                *("return", " ", "    ", "\t", "\n", "\r\n", "x = 1", "🎉", "你好", "é", "", "▁"),
                *(" <PRE>", "▁<PRE>", "<s>", "</s>", "<0x0A>", "<unk>", " <EOT>", "\ufffd", "\0"),
            ]
        ),
        st.text(st.characters(codec="utf-8"), max_size=5),
    ),
    max_size=12,
).map("".join)


@pytest.fixture(params=TOKENIZERS)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return TOKENIZERS[request.param]


@pytest.mark.parametrize("form", TOKENIZERS)
@given(pieces=st.lists(texts, max_size=5))
@settings(deadline=None)
def test_pieces_of_text_decode_to_the_whole_text(form: str, pieces: list[str]) -> None:
    tokenizer = TOKENIZERS[form]
    ids = [id_ for piece in pieces for id_ in tokenizer.encode(piece)]
    text = "".join(pieces)
    assert tokenizer.decode(ids) == text
    stream = tokenizer.stream()
    assert "".join(map(stream.feed_one, ids)) + stream.flush() == text
    stream = tokenizer.stream()
    assert stream.feed(ids[:3]) + stream.feed(ids[3:]) + stream.flush() == text
    assert not set(ids) & set(tokenizer.special_tokens.values())
    vocabulary = Vocabulary(tokenizer)
    assert b"".join(map(vocabulary.bytes_of, ids)) == text.encode()


@pytest.mark.parametrize("form", TOKENIZERS)
@given(text=texts)
@settings(deadline=None)
def test_the_start_of_a_document_has_one_dummy_space(form: str, text: str) -> None:
    ids = TOKENIZERS[form].encode_start(text)
    assert TOKENIZERS[form].decode(ids) == (f" {text}" if text else "")


@given(ids=st.lists(st.integers(0, 415), max_size=30))
def test_a_stream_of_any_ids_is_the_decoded_text(ids: list[int]) -> None:
    tokenizer = TOKENIZERS["legacy"]
    stream = tokenizer.stream()
    assert "".join(map(stream.feed_one, ids)) + stream.flush() == tokenizer.decode(ids)


def test_a_stream_holds_back_incomplete_characters(tokenizer: Tokenizer) -> None:
    stream = tokenizer.stream()
    assert [stream.feed_one(id_) for id_ in tokenizer.encode("🎉")] == ["", "", "", "🎉"]
    assert stream.feed(tokenizer.encode(" 🎉")[:3]) == " "
    assert stream.flush() == "\ufffd"


def test_the_text_and_bytes_of_single_tokens(tokenizer: Tokenizer) -> None:
    vocabulary = Vocabulary(tokenizer)
    for name, text in (("▁return", " return"), ("<0x0A>", "\n"), ("▁▁", "  "), ("mber", "mber")):
        id_ = tokenizer.token_id(name)
        assert id_ is not None
        assert tokenizer.whole_text(id_) == text
        assert vocabulary.bytes_of(id_) == text.encode()
    half = tokenizer.token_id("<0xF0>")
    assert half is not None
    assert tokenizer.whole_text(half) == ""
    assert vocabulary.bytes_of(half) == b"\xf0"
    end = tokenizer.token_id("▁<EOT>")
    assert end is not None
    assert (tokenizer.decode((end,)), vocabulary.bytes_of(end)) == ("", b"")
    assert tokenizer.decode((end,), skip_special=False) == " <EOT>"


def test_a_letter_is_its_token_and_not_its_byte(tokenizer: Tokenizer) -> None:
    """`encode` uses a byte's token only for characters without a token of their own."""
    letter, byte = tokenizer.token_id("a"), tokenizer.token_id("<0x61>")
    compatible = Vocabulary(tokenizer).tokens_compatible_with(b"a")
    assert letter in compatible
    assert byte not in compatible
    assert tokenizer.token_id("<0xF0>") in Vocabulary(tokenizer).tokens_compatible_with(b"\xf0\x9f")


@given(text=st.text("aeinrstumbhlfpd :(=_é\n", min_size=2, max_size=14))
@settings(deadline=None)
def test_token_healing_rules_out_no_tokenization_that_a_text_has(text: str) -> None:
    tokenizer = TOKENIZERS["legacy"]
    vocabulary = Vocabulary(tokenizer)
    ids, rest = tokenizer.encode(text), text.encode()
    for id_ in ids[:-1]:
        rest = rest[len(vocabulary.bytes_of(id_)) :]
        for size in range(1, len(rest) + 1):
            assert vocabulary.can_continue(id_, rest[:size])


def test_ids_before_a_text_come_from_the_tokenizer(tokenizer: Tokenizer) -> None:
    assert tokenizer.start_ids == (1,)
    assert tokenizer.special_tokens.keys() >= {"<s>", *INFILLING}


def test_the_json_text_is_that_of_the_file() -> None:
    for form in ("legacy", "metaspace"):
        written = json.loads(Tokenizer.from_json(tokenizer_json(form)).to_json())
        assert written == json.loads(tokenizer_json(form))


def byte_level(*added: AddedToken) -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = tokenizers.Tokenizer(models.BPE({name: id_ for id_, name in enumerate(alphabet)}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_tokens(list(added))
    return Tokenizer(inner, "test")


@pytest.mark.parametrize(
    "name", ["<|fim_prefix|>", "<｜fim▁hole｜>", "<[fim-middle]>", "[PREFIX]", "<fim-suffix>"]
)
def test_a_control_token_is_special_although_its_file_says_no(name: str) -> None:
    tokenizer = byte_level(AddedToken(name, special=False))
    assert tokenizer.special_id(name) == 256
    assert 256 not in tokenizer.encode(f"a{name}b")
    assert tokenizer.decode(tokenizer.encode(name)) == name
    assert tokenizer.decode((256,)) == ""
    assert Tokenizer.from_json(tokenizer.to_json()).special_id(name) == 256


def test_added_tokens_of_ordinary_text_stay_text() -> None:
    """CodeGen has such tokens for indentation."""
    tokenizer = byte_level(*(AddedToken(name, special=False) for name in ("    ", "<b>", "你好")))
    assert tokenizer.encode("    <b>你好") == [256, 257, 258]
    assert tokenizer.decode((258,)) == "你好"
    assert tokenizer.bytes_by_id[258] == "你好".encode()
    assert tokenizer.special_tokens == {}
    assert tokenizer.bytes_by_id[256] == b"    "
    assert tokenizer.start_ids == ()
    assert tokenizer.encode_start("a b") == tokenizer.encode("a b")


def test_what_threads_remember_is_bounded() -> None:
    """The library would remember 10,000 words for each thread, 20 MB here."""
    tokenizer = Tokenizer.from_file(EMBEDDED_DIR)
    process, rng = psutil.Process(), random.Random(0)

    def encode(_: int) -> None:
        for _ in range(500):
            words = ("".join(rng.choices("abcdefgh_", k=rng.randint(3, 12))) for _ in range(40))
            tokenizer.encode(" ".join(words))

    before = process.memory_info().rss
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(encode, range(30)))
        assert process.memory_info().rss - before < 10 << 20
