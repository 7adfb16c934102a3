"""Tokenizers of GGUF files give the ids of the tokenizers that they came from."""

import contextlib
import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import tokenizers
import torch
from gguf import GGUFReader, GGUFWriter, TokenType
from gguf.quants import dequantize
from tokenizers import decoders, models, pre_tokenizers, trainers

from engine.errors import UnsupportedModelError
from engine.loading.gguf_file import GgufFile
from engine.loading.model_tokenizer import read_tokenizer
from engine.loading.on_disk import EMBEDDED_DIR
from engine.tokenizer import Tokenizer
from tests.conftest import OPTIONAL
from tests.engine.loading.gguf_maker import (
    make_model,
    write_byte_level,
    write_gguf,
    write_starcoder_tokenizer,
)

REAL_FILE = "STARCODER_LSP_REAL_GGUF"
CORPUS = [
    "def mean(numbers):\n    return sum(numbers) / len(numbers)\n",
    "x = 2025; y=1234567.89e-10 0x7fff 1_000 ²½٣",
    "",
    " ",
    "  two leading spaces",
    "\tif (a && b) {\r\n\t\treturn a->b;\r\n\t}\r\n",
    "trailing   \n\n\n   \n",
    "它是一个函数。これは関数です。함수입니다 数123字",
    "emoji 👩‍👩‍👧 🎉🎉 ok",
    "I'LL we're DON'T 'tis he'd",
    "naïve café cafe\u0301 Ünïcödé Привет мир ￿",
    "<fim_prefix> <|endoftext|> <s> [INST] </s> are text",
    "https://example.org/a?b=c&d=%20#e",
    "a\u00a0b\u2003c\u200bd",
    "\x00\x01\x7f",
    "!!!???... ---=== (((]]] $$$ ++ <= >= ^~|`",
    (Path(__file__).read_text(encoding="utf-8"))[:4000],
]
QWEN_SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def trained(pre_tokenizer: Any, vocab_size: int = 700) -> tokenizers.Tokenizer:
    """A byte-level tokenizer with its own merges."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS * 2, trainer)
    return tokenizer


def from_gguf(tmp_path: Path, write: Callable[[GGUFWriter], None], kind: str = "qwen2") -> str:
    model = make_model(kind, num_hidden_layers=1, vocab_size=2048)
    return GgufFile(write_gguf(tmp_path / "model.gguf", model, tokenizer=write)).tokenizer_json()


def assert_same(text: str, original: tokenizers.Tokenizer) -> None:
    copy = Tokenizer.from_json(text)
    expected = Tokenizer(original, "the original")
    for line in CORPUS:
        assert copy.encode(line) == expected.encode(line), line
        ids = expected.encode(line)
        assert copy.decode(ids) == expected.decode(ids)
    assert copy.special_tokens == expected.special_tokens
    assert copy.has_same_tokens(expected)


def test_starcoders_tokenizer_is_the_same(tmp_path: Path) -> None:
    content = (EMBEDDED_DIR / "tokenizer.json").read_text(encoding="utf-8")
    original = tokenizers.Tokenizer.from_str(content)
    assert_same(from_gguf(tmp_path, lambda w: write_byte_level(w, content, "starcoder")), original)


def test_qwens_tokenizer_is_the_same(tmp_path: Path) -> None:
    from transformers import Qwen2Tokenizer

    parts = json.loads(trained(Qwen2Tokenizer()._tokenizer.pre_tokenizer).to_str())["model"]
    merges = [tuple(merge) for merge in parts["merges"]]
    original = Qwen2Tokenizer(vocab=parts["vocab"], merges=merges)._tokenizer
    original.add_special_tokens(QWEN_SPECIAL)
    original.add_tokens(["<tool_call>"])
    assert original.encode("cafe\u0301").ids == original.encode("caf\u00e9").ids  # form C
    text = from_gguf(
        tmp_path, lambda w: write_byte_level(w, original.to_str(), "qwen2", pad_to=1000)
    )
    assert_same(text, original)
    assert Tokenizer.from_json(text).token_id("<tool_call>") == original.token_to_id("<tool_call>")
    assert Tokenizer.from_json(text).vocab_size < 1000  # rows that pad the embedding are no tokens


def test_llama_3s_tokenizer_is_the_same(tmp_path: Path) -> None:
    from transformers.convert_slow_tokenizer import TikTokenConverter

    split = pre_tokenizers.Split(
        tokenizers.Regex(TikTokenConverter().pattern), behavior="isolated", invert=False
    )
    steps = [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    original = trained(pre_tokenizers.Sequence(steps))
    original.add_special_tokens(["<|begin_of_text|>", "<|end_of_text|>"])
    bos = original.token_to_id("<|begin_of_text|>")

    def write(writer: GGUFWriter) -> None:
        write_byte_level(writer, original.to_str(), "llama-bpe")
        writer.add_bos_token_id(bos)

    text = from_gguf(tmp_path, write, "llama")
    assert_same(text, original)
    assert json.loads(text)["model"]["ignore_merges"]
    assert tokenizers.Tokenizer.from_str(text).encode("a").ids[0] == bos


PIECES = {
    "gpt-2": ["def", "Ġf", "(", "x", "2025", "):", "Ġ", "Ġ#", "ĠI", "'m"],
    "starcoder": ["def", "Ġf", "(", "x", "2", "0", "2", "5", "):", "Ġ", "Ġ#", "ĠI", "'m"],
    "qwen2": ["def", "Ġf", "(x", "2", "0", "2", "5", "):", "Ġ", "Ġ#", "ĠI", "'m"],
    "llama-bpe": ["def", "Ġf", "(x", "202", "5", "):", "Ġ", "Ġ#", "ĠI", "'m"],
    "tekken": ["def", "Ġf", "(x", "2", "0", "2", "5", "):", "Ġ", "Ġ#", "ĠI", "'m"],
    "seed-coder": ["def", "Ġf", "(x", "2", "0", "2", "5", "):", "Ġ", "Ġ#", "ĠI", "'m"],
    "deepseek-coder": ["def", "Ġf", "(", "x", "2", "0", "2", "5", "):", "Ġ", "Ġ#", "ĠI", "'", "m"],
    "deepseek-llm": ["def", "Ġf", "(", "x", "2", "0", "2", "5", "):", "Ġ", "Ġ#", "ĠI", "'", "m"],
}
NAMES = {
    "starcoder": ["refact", "smollm"],
    "qwen2": ["deepseek-r1-qwen"],
    "llama-bpe": ["dbrx", "smaug-bpe"],
    "gpt-2": ["mellum"],
}


def pieces(text: str, line: str) -> list[str]:
    splitter = tokenizers.Tokenizer.from_str(text).pre_tokenizer
    assert splitter is not None
    return [piece for piece, _ in splitter.pre_tokenize_str(line)]


def with_pre(tmp_path: Path, pre: str | None, kind: str = "llama", **tokens: int) -> str:
    def write(writer: GGUFWriter) -> None:
        original = trained(pre_tokenizers.ByteLevel(add_prefix_space=False), 300)
        original.add_special_tokens(list(tokens))
        write_byte_level(writer, original.to_str(), pre)

    return from_gguf(tmp_path, write, kind)


@pytest.mark.parametrize("pre", PIECES)
def test_text_is_split_by_the_rules_of_the_model(pre: str, tmp_path: Path) -> None:
    for name in [pre, *NAMES.get(pre, [])]:
        assert pieces(with_pre(tmp_path, name), "def f(x2025):  # I'm") == PIECES[pre], name


def test_rules_that_differ_in_details(tmp_path: Path) -> None:
    newline, colon = "Ċ", ":"
    assert pieces(with_pre(tmp_path, "qwen2"), "a:\n\n  b") == ["a", colon + newline * 2, "Ġ", "Ġb"]
    coder = with_pre(tmp_path, "deepseek-coder")
    assert pieces(coder, "a:\n\n  b") == ["a", colon, newline, newline, "Ġ", "Ġb"]
    seed = with_pre(tmp_path, "seed-coder")
    assert pieces(seed, "a:\n\n  b") == ["a", colon, newline * 2, "Ġ", "Ġb"]
    tekken = with_pre(tmp_path, "tekken")
    assert pieces(tekken, "camelCaseHTTP x//\n") == ["camel", "Case", "HTTP", "Ġx", "//" + newline]


@pytest.mark.parametrize(
    ("kind", "tokens", "expected"),
    [
        ("starcoder2", (), "starcoder"),
        ("gpt_bigcode", (), "starcoder"),
        ("qwen3", (), "qwen2"),
        ("granite", (), "starcoder"),
        ("llama", ("<｜fim▁begin｜>",), "deepseek-coder"),
        ("llama", ("<fim_prefix>",), "starcoder"),
        ("llama", ("<|begin_of_text|>",), "llama-bpe"),
    ],
)
def test_files_without_rules_get_those_of_the_model_they_are(
    kind: str, tokens: tuple[str, ...], expected: str, tmp_path: Path
) -> None:
    for pre in (None, "default"):
        text = with_pre(tmp_path, pre, kind, **dict.fromkeys(tokens, 0))
        assert pieces(text, "def f(x2025):  # I'm") == PIECES[expected]


def test_deepseeks_letters_and_symbols(tmp_path: Path) -> None:
    """The expected pieces follow from DeepSeek's lists of characters."""
    splitter = tokenizers.Tokenizer.from_str(with_pre(tmp_path, "deepseek-llm")).pre_tokenizer

    def parts(line: str) -> list[str]:
        assert splitter is not None
        return [line[start:end] for _, (start, end) in splitter.pre_tokenize_str(line)]

    assert parts("a\u01bbb") == ["a", "\u01bb", "b"]  # a letter without case
    assert parts("\u212a\u2126\u1f7d") == ["\u212a\u2126\u1f7d"]
    assert parts("x\U0001d400y\ua790z") == ["x", "\U0001d400", "y", "\ua790", "z"]
    # The list of CJK characters starts at U+0800, so it has the first symbol, but not the second.
    assert parts("ok\u3002\uff01\u4e2d\u6587 ") == ["ok", "\u3002", "\uff01", "\u4e2d\u6587", " "]


def test_the_default_rules_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        text = with_pre(tmp_path, "default")
    assert "the rules of default are used" in caplog.text
    assert pieces(text, "f(x2025)->y") == ["f", "(", "x", "202", "5", ")->", "y"]


def test_unknown_rules_and_kinds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="rules 'kimi-k2'"):
        with_pre(tmp_path, "kimi-k2")

    def write(writer: GGUFWriter) -> None:
        writer.add_tokenizer_model("t5")
        writer.add_token_list(["a"])

    with pytest.raises(UnsupportedModelError, match="kind 't5'"):
        from_gguf(tmp_path, write)


def test_unused_tokens_that_are_no_padding_stay(tmp_path: Path) -> None:
    original = trained(pre_tokenizers.ByteLevel(add_prefix_space=False), 300)
    size = original.get_vocab_size()

    def write(writer: GGUFWriter) -> None:
        write_byte_level(writer, original.to_str(), "gpt-2", pad_to=size + 2)
        key = writer.kv_data[0]
        tokens, types = key["tokenizer.ggml.tokens"], key["tokenizer.ggml.token_type"]
        tokens.value[size], types.value[3] = "<reserved>", int(TokenType.UNUSED)

    tokenizer = Tokenizer.from_json(from_gguf(tmp_path, write))
    assert tokenizer.vocab_size == size + 1
    assert tokenizer.token_id("<reserved>") == size
    assert tokenizer.encode("a, b") == original.encode("a, b").ids


def test_an_ordinary_token_may_have_a_name_like_padding(tmp_path: Path) -> None:
    original = trained(pre_tokenizers.ByteLevel(add_prefix_space=False), 300)
    content = json.loads(original.to_str())
    content["model"]["vocab"]["[PAD7]"] = 300
    text = from_gguf(tmp_path, lambda w: write_byte_level(w, json.dumps(content), "gpt-2"))
    assert Tokenizer.from_json(text).token_id("[PAD7]") == 300


def test_added_tokens_before_the_end_keep_their_ids(tmp_path: Path) -> None:
    original = trained(pre_tokenizers.ByteLevel(add_prefix_space=False), 300)
    content = json.loads(original.to_str())
    vocab = content["model"]["vocab"]
    content["model"]["vocab"] = {token: id_ + (id_ >= 200) * 2 for token, id_ in vocab.items()}
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    content["added_tokens"] = [
        {"id": 200, "content": "<a>", "special": True, **flags},
        {"id": 201, "content": "<b>", "special": True, **flags},
    ]
    text = from_gguf(tmp_path, lambda w: write_byte_level(w, json.dumps(content), "gpt-2"))
    assert Tokenizer.from_json(text).special_tokens == {"<a>": 200, "<b>": 201}


def test_added_tokens_after_padding_keep_their_ids(tmp_path: Path) -> None:
    content = json.loads(trained(pre_tokenizers.ByteLevel(add_prefix_space=False), 300).to_str())
    content["model"]["vocab"]["[PAD300]"] = 300
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    content["added_tokens"] = [{"id": 301, "content": "<a>", "special": True, **flags}]

    def write(writer: GGUFWriter) -> None:
        write_byte_level(writer, json.dumps(content), "gpt-2")
        writer.kv_data[0]["tokenizer.ggml.token_type"].value[300] = int(TokenType.UNUSED)

    assert Tokenizer.from_json(from_gguf(tmp_path, write)).special_tokens == {"<a>": 301}


def test_fim_tokens_are_special_even_if_their_type_says_otherwise(tmp_path: Path) -> None:
    original = trained(pre_tokenizers.ByteLevel(add_prefix_space=False), 300)
    original.add_tokens(["<fim_a>", "<plain>"])
    fim, plain = original.token_to_id("<fim_a>"), original.token_to_id("<plain>")

    def write(writer: GGUFWriter) -> None:
        write_byte_level(writer, original.to_str(), "gpt-2")
        writer.add_uint32("tokenizer.ggml.fim_pre_token_id", fim)
        writer.add_uint32("tokenizer.ggml.padding_token_id", 5)  # an ordinary token

    tokenizer = Tokenizer.from_json(from_gguf(tmp_path, write))
    assert tokenizer.special_tokens == {"<fim_a>": fim}
    assert fim not in tokenizer.encode("a <fim_a> b")
    assert plain in tokenizer.encode("a <plain> b")


def pieces_with_scores() -> tuple[list[str], list[float], list[int]]:
    """A vocabulary as SentencePiece trains it: <unk> <s> </s>, bytes, merged pieces, characters."""
    text = "\n".join(CORPUS).replace("\n", "").replace("\r", "")
    trainer = trainers.BpeTrainer(
        vocab_size=500, limit_alphabet=90, show_progress=False, special_tokens=[]
    )
    bpe = tokenizers.Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    bpe.train_from_iterator([text], trainer)
    content = json.loads(bpe.to_str())["model"]
    merged = ["".join(merge) for merge in content["merges"]]
    characters = [token for token in content["vocab"] if token not in set(merged)]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokens += [*dict.fromkeys(merged), *characters, "▁<PRE>", "<0x>"]
    special = [TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL]
    types = [*special, *[TokenType.BYTE] * 256]
    types += [TokenType.NORMAL] * (len(tokens) - len(types))
    types[-1] = TokenType.USER_DEFINED
    scores = [0.0] * 259 + [-float(rank) for rank in range(len(tokens) - 259)]
    return tokens, scores, [int(type_) for type_ in types]


def sentence_piece_ids(line: str, tokens: list[str], scores: list[float], prefix: str) -> list[int]:
    """SentencePiece's algorithm: join the neighbours with the best score, from the left."""
    ids = {token: index for index, token in enumerate(tokens)}
    symbols = list((prefix + line).replace(" ", "▁")) if line else []
    while True:
        joins = [
            (-scores[ids[left + right]], index)
            for index, (left, right) in enumerate(pairwise(symbols))
            if ids.get(left + right, 0) >= 259
        ]
        if not joins:
            break
        _, index = min(joins)
        symbols[index : index + 2] = [symbols[index] + symbols[index + 1]]

    def lookup() -> Iterator[int]:
        for symbol in symbols:
            if symbol in ids:
                yield ids[symbol]
            else:
                yield from (3 + byte for byte in symbol.encode())

    return list(lookup())


@pytest.mark.parametrize("has_prefix", [True, False])
def test_sentence_piece_gives_the_same_ids(has_prefix: bool, tmp_path: Path) -> None:
    tokens, scores, types = pieces_with_scores()

    def write(writer: GGUFWriter) -> None:
        writer.add_tokenizer_model("llama")
        writer.add_token_list(tokens)
        writer.add_token_scores(scores)
        writer.add_token_types(types)
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_add_space_prefix(has_prefix)

    text = from_gguf(tmp_path, write, "llama")
    tokenizer = Tokenizer.from_json(text)
    assert set(tokenizer.special_tokens) == {"<unk>", "<s>", "</s>", "▁<PRE>"}
    for line in CORPUS:
        expected = sentence_piece_ids(line, tokens, scores, " " if has_prefix else "")
        assert tokenizer.encode_start(line) == expected, line
        if "\x00" not in line:
            start = " " if has_prefix and line else ""
            assert tokenizer.decode(expected) == start + line
    assert tokenizers.Tokenizer.from_str(text).encode("a").ids[0] == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda w: w.add_token_types([1, 1]),
        lambda w: w.add_token_merges(["ab"]),
        lambda w: w.add_token_merges(["a zz"]),
        lambda w: w.add_array("tokenizer.ggml.merges", [1, 2]),
        lambda w: w.add_string("tokenizer.ggml.merges", "a b"),
    ],
)
def test_a_damaged_tokenizer_gives_one_clear_error(damage: Any, tmp_path: Path) -> None:
    def write(writer: GGUFWriter) -> None:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("gpt-2")
        writer.add_token_list(["a", "b", "c"])
        damage(writer)

    file = write_gguf(
        tmp_path / "model.gguf", make_model("llama", num_hidden_layers=1), tokenizer=write
    )
    with pytest.raises(UnsupportedModelError, match=r"\.gguf"):
        read_tokenizer(file)


def test_damaged_bytes_of_a_tokenizer_never_give_another_error(tmp_path: Path) -> None:
    model = make_model("llama", num_hidden_layers=1)
    content = write_gguf(
        tmp_path / "model.gguf", model, tokenizer=write_starcoder_tokenizer
    ).read_bytes()
    start, end = content.index(b"tokenizer.ggml.model"), content.index(b"token_embd.weight")
    file = tmp_path / "damaged.gguf"
    for offset in range(start, end, 11):
        damaged = bytearray(content)
        damaged[offset] ^= 0xFF
        file.write_bytes(damaged)
        with contextlib.suppress(UnsupportedModelError):
            read_tokenizer(file)


@pytest.fixture
def real_file() -> Path:
    if not os.environ.get(REAL_FILE):
        pytest.skip(f"{OPTIONAL}set {REAL_FILE} to SmolLM2-135M-Instruct.Q4_1.gguf")
    return Path(os.environ[REAL_FILE])


def test_a_real_files_tokenizer_equals_that_of_transformers(real_file: Path) -> None:
    from transformers import AutoTokenizer

    expected = AutoTokenizer.from_pretrained(real_file.parent, gguf_file=real_file.name)
    tokenizer = read_tokenizer(real_file)
    # transformers' converter does not split digits, which only shows in digits that are not ASCII.
    for line in (re.sub("[²½٣]", "", line) for line in CORPUS):
        ids = tokenizer.encode(line)
        assert ids == expected(line, split_special_tokens=True)["input_ids"], line
        assert tokenizer.decode(ids) == line
    assert {expected.convert_ids_to_tokens(id_) for id_ in range(17)} == set(
        tokenizer.special_tokens
    )
    assert tokenizer.token_id("<|im_start|>") == 1
    assert "<|im_start|>" in GgufFile(real_file).chat_template()


def test_a_real_files_tensors_equal_those_of_the_gguf_package(real_file: Path) -> None:
    """SmolLM2-135M-Instruct as Q4_1, made by llama.cpp."""
    file = GgufFile(real_file)
    config = file.config()
    expected = {"model_type": "llama", "hidden_size": 576, "intermediate_size": 1536}
    expected |= {"num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3}
    expected |= {"head_dim": 64, "vocab_size": 49152, "max_position_embeddings": 8192}
    expected |= {"rms_norm_eps": 1e-5, "rope_theta": 100_000.0, "rope_scaling": None}
    expected |= {"tie_word_embeddings": True, "bos_token_id": 1, "eos_token_id": 2}
    assert {key: config[key] for key in expected} == expected
    assert file.kind == "Q4_1"
    assert 5.7 < file.bits < 5.8

    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 30)
    stored = {tensor.name: tensor for tensor in GGUFReader(real_file).tensors}
    assert len(file.names()) == len(stored)
    for name in file.names():
        tensor = stored[names.get_name(name, try_suffixes=(".weight",))]
        matrix = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if "q_proj" in name or "k_proj" in name:
            heads = 9 if "q_proj" in name else 3
            pairs = matrix.reshape(heads, 32, 2, 576)
            matrix = pairs.swapaxes(1, 2).reshape(matrix.shape)
        assert torch.equal(file.read(name), torch.from_numpy(matrix.copy())), name
