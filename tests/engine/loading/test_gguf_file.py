"""GGUF files of every architecture and number format, compared with the models they came from."""

import random
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Kind
from gguf import GGUFWriter
from gguf.quants import dequantize, quantize

from engine.errors import ModelNotFoundError, UnsupportedModelError
from engine.loading.gguf_container import read_container
from engine.loading.gguf_file import GgufFile, gguf_in
from engine.loading.gguf_kinds import KINDS
from tests.engine.loading.gguf_blocks import EXPAND
from tests.engine.loading.gguf_maker import (
    as_kind,
    make_model,
    permute,
    stored_tensors,
    write_gguf,
)

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500_000.0,
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {"tie_word_embeddings": False, "rms_norm_eps": 1e-5}),
    "llama tied, with biases": (
        "llama",
        {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True},
    ),
    "llama, linear scaling": (
        "llama",
        {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 100_000.0}},
    ),
    "llama 3.2": ("llama", {"rope_parameters": LLAMA3, "head_dim": 64}),
    "llama 3, other limits": (
        "llama",
        {
            "rope_parameters": {**LLAMA3, "low_freq_factor": 2.0, "high_freq_factor": 32.0},
            "head_dim": 64,
        },
    ),
    "mistral with a window": ("mistral", {"sliding_window": 8}),
    "qwen2": ("qwen2", {"tie_word_embeddings": True}),
    "qwen3": ("qwen3", {"head_dim": 32}),
    "starcoder2": ("starcoder2", {"sliding_window": None, "norm_epsilon": 1e-5}),
    "starcoder2 without biases": ("starcoder2", {"sliding_window": None, "use_bias": False}),
    "gpt_bigcode": ("gpt_bigcode", {"intermediate_size": 256}),
    "granite": (
        "granite",
        {
            "attention_multiplier": 0.2,
            "embedding_multiplier": 12.0,
            "residual_multiplier": 0.22,
            "logits_scaling": 8.0,
        },
    ),
}
TOLERANCES = {
    "F16": 1e-3,
    "BF16": 8e-3,
    "Q8_0": 5e-3,
    "Q5_1": 0.035,
    "Q5_0": 0.07,
    "Q4_1": 0.07,
    "Q4_0": 0.14,
}
"""Largest error of a format, as a share of the tensor's largest weight."""
TEXT = torch.tensor([[5, 390, 77, 1, 8, 200, 33, 33, 4, 120, 9, 311, 2, 6]])


def every_tensor(file: GgufFile) -> dict[str, torch.Tensor]:
    return {name: file.read(name) for name in file.names()}


def expected_tensors(model: Any) -> dict[str, torch.Tensor]:
    state = dict(model.state_dict())
    if model.config.tie_word_embeddings:
        del state["lm_head.weight"]
    return state


@pytest.mark.parametrize("name", MODELS)
def test_a_model_has_the_config_tensors_and_logits_of_the_original(
    name: str, tmp_path: Path
) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    kind, changes = MODELS[name]
    model = make_model(kind, **changes)
    file = GgufFile(write_gguf(tmp_path / "model.gguf", model))

    tensors, expected = every_tensor(file), expected_tensors(model)
    assert set(tensors) == set(expected)
    for tensor_name, tensor in tensors.items():
        assert torch.equal(tensor, expected[tensor_name]), tensor_name

    config = file.config()
    assert config.pop("model_type") == kind
    original = model.config.to_dict()
    rope = {"rope_theta": config.pop("rope_theta", None), **(config.pop("rope_scaling", {}) or {})}
    if kind != "gpt_bigcode":
        assert {"rope_type": "default", **rope} == original["rope_parameters"]
    # transformers' Qwen2 always has these biases, and its StarCoder2 has no such key.
    for key in {"head_dim", "attention_bias", "mlp_bias", "use_sliding_window"} - set(original):
        config.pop(key, None)
    if kind == "qwen3":
        assert not config.pop("use_sliding_window")
    assert {key: original.get(key) for key in config} == config

    again = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(**{**file.config(), "model_type": kind}), dtype=torch.float32
    ).eval()
    again.load_state_dict(tensors, strict=not file.config()["tie_word_embeddings"])
    again.tie_weights()
    with torch.no_grad():
        torch.testing.assert_close(again(TEXT).logits, model(TEXT).logits)


@pytest.mark.parametrize(
    ("kind", "tolerance"),
    list(TOLERANCES.items()),
)
def test_tensors_equal_the_original_within_the_rounding(
    kind: str, tolerance: float, tmp_path: Path
) -> None:
    model = make_model("llama")
    file = GgufFile(write_gguf(tmp_path / "model.gguf", model, as_kind(Kind[kind])))
    assert file.kind == file.kind_of("model.layers.1.self_attn.q_proj.weight") == kind
    assert file.kind_of("model.norm.weight") == "F32"
    assert file.parameters == sum(each.numel() for each in expected_tensors(model).values())
    assert file.bits == pytest.approx(
        8 * KINDS[Kind[kind]].size / KINDS[Kind[kind]].block, rel=0.03
    )
    for name, expected in expected_tensors(model).items():
        tensor = file.read(name)
        stored = {"F16": torch.float16, "BF16": torch.bfloat16}.get(kind, torch.float32)
        assert tensor.dtype == (stored if tensor.dim() > 1 else torch.float32)
        worst = (tensor.float() - expected).abs().max() / expected.abs().max()
        assert worst <= tolerance, name


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "BF16", "F16"])
def test_quantised_rows_of_q_and_k_return_to_their_place(kind: str, tmp_path: Path) -> None:
    model = make_model("llama")
    file = GgufFile(write_gguf(tmp_path / "model.gguf", model, as_kind(Kind[kind])))
    original = model.state_dict()["model.layers.0.self_attn.k_proj.weight"]
    rounded = dequantize(quantize(permute(original, 2).numpy(), Kind[kind]), Kind[kind])
    tensor = file.read("model.layers.0.self_attn.k_proj.weight").float()
    assert torch.equal(permute(tensor, 2), torch.from_numpy(rounded.copy()))


@pytest.mark.parametrize("kind", EXPAND)
def test_blocks_are_expanded_like_ggml_does(kind: str, tmp_path: Path) -> None:
    expand, scales = EXPAND[kind]
    format_ = KINDS[Kind[kind]]
    rng = random.Random(0)
    blocks = []
    for _ in range(64 * 256 // format_.block):
        block = bytearray(rng.randbytes(format_.size))
        for offset in scales:
            struct.pack_into("<e", block, offset, rng.uniform(-2, 2))
        blocks.append(bytes(block))

    def encode(name: str, tensor: torch.Tensor) -> tuple[np.ndarray, Kind]:
        if name != "blk.0.ffn_down.weight":
            return tensor.numpy(), Kind.F32
        return np.frombuffer(b"".join(blocks), np.uint8).reshape(64, -1), Kind[kind]

    model = make_model("llama", intermediate_size=256)
    file = GgufFile(write_gguf(tmp_path / "model.gguf", model, encode))
    expected = torch.tensor([weight for block in blocks for weight in expand(block)])
    tensor = file.read("model.layers.0.mlp.down_proj.weight")
    torch.testing.assert_close(tensor.reshape(-1), expected, rtol=1e-5, atol=1e-5)


def test_tensors_larger_than_a_chunk_are_whole(tmp_path: Path) -> None:
    model = make_model("llama", num_hidden_layers=1, vocab_size=9001, tie_word_embeddings=True)
    file = GgufFile(write_gguf(tmp_path / "model.gguf", model, as_kind(Kind.Q8_0)))
    table = model.state_dict()["model.embed_tokens.weight"].numpy()
    expected = dequantize(quantize(table, Kind.Q8_0), Kind.Q8_0)
    assert file.read("model.embed_tokens.weight").numel() > 2 << 18
    assert torch.equal(file.read("model.embed_tokens.weight"), torch.from_numpy(expected))


def test_the_published_starcoder2_has_its_window(tmp_path: Path) -> None:
    model = make_model("starcoder2", max_position_embeddings=16_384, sliding_window=4096)
    file = GgufFile(write_gguf(tmp_path / "model.gguf", model))
    assert file.config()["sliding_window"] == 4096


def test_parts_are_read_as_one_model(tmp_path: Path) -> None:
    model = make_model("qwen2")
    first = write_gguf(tmp_path / "model.gguf", model, parts=3)
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        f"model-0000{number}-of-00003.gguf" for number in (1, 2, 3)
    ]
    file = GgufFile(first)
    expected = expected_tensors(model)
    assert all(torch.equal(file.read(name), expected[name]) for name in expected)
    assert gguf_in(tmp_path) == first

    second = first.with_name("model-00002-of-00003.gguf")
    with pytest.raises(UnsupportedModelError, match=r"Choose model-00001-of-00003\.gguf"):
        GgufFile(second)
    moved = second.rename(tmp_path / "other.gguf")
    with pytest.raises(ModelNotFoundError, match="Download all parts"):
        GgufFile(first)
    with pytest.raises(UnsupportedModelError, match="one part of a model"):
        GgufFile(moved)
    first.with_name("model-00003-of-00003.gguf").rename(second)
    moved.rename(first.with_name("model-00003-of-00003.gguf"))
    with pytest.raises(UnsupportedModelError, match="do not belong together"):
        GgufFile(first)
    with pytest.raises(UnsupportedModelError, match="one part of a model"):
        GgufFile(first.rename(tmp_path / "renamed.gguf"))


def header(file: Path, architecture: str, **keys: Any) -> Path:
    writer = GGUFWriter(file, architecture)
    for key, value in keys.items():
        writer.add_uint32(key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"GG", "ends too early"),
        (b"PK\x03\x04" + bytes(40), "letters GGUF"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version is 1"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 60), "65,536"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 0), "65,536"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1 << 62), "ends too early"),
        # An array of 2^60 empty strings, and one of 2^60 bytes.
        (b"GGUF" + struct.pack("<IQQQ1sIIQ", 3, 0, 1, 1, b"k", 9, 8, 1 << 60), "too long"),
        (b"GGUF" + struct.pack("<IQQQ1sIIQ", 3, 0, 1, 1, b"k", 9, 0, 1 << 60), "ends too early"),
        (b"GGUF" + struct.pack("<IQQQ1sIIQ", 3, 0, 1, 1, b"k", 9, 9, 1), "unsupported type"),
        (b"GGUF" + struct.pack("<IQQQ1sI", 3, 0, 1, 1, b"k", 77), "unknown type"),
        (b"GGUF" + struct.pack("<IQQQ1sI", 3, 0, 1, 1, b"\xff", 77), "UTF-8"),
        (b"GGUF" + struct.pack("<IQQ" + 2 * "Q1sIB", 3, 0, 2, *(1, b"k", 0, 7) * 2), "twice"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 0), "general.architecture"),
    ],
)
def test_a_damaged_header_gives_one_clear_error(
    content: bytes, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(content)
    with pytest.raises(UnsupportedModelError, match=message):
        GgufFile(file)


def test_other_architectures_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match=r"'gemma3'.*Supported are: llama"):
        GgufFile(header(tmp_path / "model.gguf", "gemma3"))
    experts = {"llama.expert_count": 8}
    with pytest.raises(UnsupportedModelError, match="mixture of experts"):
        GgufFile(header(tmp_path / "moe.gguf", "llama", **experts))
    with pytest.raises(UnsupportedModelError, match="contains no model"):
        GgufFile(header(tmp_path / "vocab.gguf", "llama"))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("llama.rope.dimension_count", 8, "rope.dimension_count that differs"),
        ("llama.attention.value_length", 8, "attention.value_length that differs"),
        ("llama.rope.scale_linear", -1.0, "no usable llama.rope.scale_linear"),
        ("llama.rope.scaling.factor", float("nan"), "no usable llama.rope.scaling.factor"),
        ("tokenizer.ggml.eos_token_id", 1 << 31 | 1, "no usable tokenizer.ggml.eos_token_id"),
    ],
)
def test_metadata_that_cannot_be_used_is_named(
    key: str, value: float, message: str, tmp_path: Path
) -> None:
    def tokenizer(writer: GGUFWriter) -> None:
        writer.add_tokenizer_model("gpt2")

    file = tmp_path / "model.gguf"
    model = make_model("llama")
    del model.config.head_dim
    with pytest.raises(UnsupportedModelError, match=message):
        GgufFile(write_gguf(file, model, tokenizer=tokenizer, extra={key: value}))


def test_old_files_scale_positions_by_another_key(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    extra = {"llama.rope.scale_linear": 4.0}
    config = GgufFile(write_gguf(file, make_model("llama"), extra=extra)).config()
    assert config["rope_scaling"] == {"rope_type": "linear", "factor": 4.0}


def test_an_unsupported_number_format_is_refused_by_name(tmp_path: Path) -> None:
    def encode(name: str, tensor: torch.Tensor) -> tuple[np.ndarray, Kind]:
        if name != "blk.1.ffn_up.weight":
            return tensor.numpy(), Kind.F32
        return np.zeros((96, 64 // 32 * 17), np.uint8), Kind.MXFP4

    file = write_gguf(tmp_path / "model.gguf", make_model("llama"), encode)
    with pytest.raises(UnsupportedModelError, match=r"ggml type 39.*Q4_K"):
        GgufFile(file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("blk.1.ffn_up.weight"), "ffn_up.weight is missing"),
        (lambda t: t.update({"blk.0.attn_k.weight": torch.zeros(64, 64)}), "has the shape"),
        (lambda t: t.update({"blk.0.attn_gate.weight": torch.zeros(64, 64)}), "does not have"),
        (
            lambda t: t.update({"blk.0.attn_q.bias": torch.zeros(64)}),
            "blk.1.attn_q.bias is missing",
        ),
        (lambda t: t.update({"blk.0.attn_norm.bias": torch.zeros(64)}), "does not have"),
        (lambda t: t.update({"blk.2.ffn_up.weight": torch.zeros(96, 64)}), "does not have"),
        (lambda t: t.update({"rope_freqs.weight": torch.zeros(8)}), "rope_freqs"),
        (lambda t: t.update({"rope_freqs.weight": torch.arange(1.0, 9.0)}), "rope_freqs"),
        (lambda t: t.update({"rope_freqs.weight": torch.ones(7)}), "rope_freqs"),
    ],
)
def test_tensors_that_do_not_fit_the_config_are_refused(
    change: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model("llama")
    tensors = stored_tensors(model)
    change(tensors)
    monkeypatch.setattr("tests.engine.loading.gguf_maker.stored_tensors", lambda _: tensors)
    with pytest.raises(UnsupportedModelError, match=message):
        GgufFile(write_gguf(tmp_path / "model.gguf", model))


def test_overlapping_tensors_are_refused(tmp_path: Path) -> None:
    """Many tensors over the same bytes would need far more memory than the file has."""
    file = write_gguf(tmp_path / "model.gguf", make_model("llama"))
    content = bytearray(file.read_bytes())
    for name in (b"blk.0.ffn_up.weight", b"blk.1.ffn_up.weight"):
        offset = content.index(name) + len(name) + 4 + 16 + 4
        struct.pack_into("<Q", content, offset, 0)
    # The file must not have room for a copy of what overlaps.
    file.write_bytes(content[:-1])
    with pytest.raises(UnsupportedModelError, match="ends too early"):
        read_container(file)
    file.write_bytes(content)
    read_container(file)
    start = content.index(b"token_embd.weight") + len(b"token_embd.weight") + 4
    struct.pack_into("<QQ", content, start, 64, 1200)  # three times its rows
    file.write_bytes(content)
    with pytest.raises(UnsupportedModelError, match="overlap"):
        read_container(file)


def read_everything(file: Path) -> None:
    model = GgufFile(file)
    model.config()
    model.chat_template()
    for name in model.names():
        model.read(name)


@pytest.mark.parametrize("kind", ["F32", "Q4_1"])
def test_every_truncated_file_gives_one_clear_error(kind: str, tmp_path: Path) -> None:
    model = make_model("llama", num_hidden_layers=1)
    content = write_gguf(tmp_path / "model.gguf", model, as_kind(Kind[kind])).read_bytes()
    file = tmp_path / "cut.gguf"
    for length in [*range(0, 12_000, 37), *range(12_000, len(content), 4001), len(content) - 1]:
        file.write_bytes(content[:length])
        with pytest.raises(UnsupportedModelError) as caught:
            GgufFile(file)
        assert str(caught.value).endswith(".")


def test_damaged_metadata_never_gives_another_error(tmp_path: Path) -> None:
    model = make_model("granite", num_hidden_layers=1)
    content = write_gguf(tmp_path / "model.gguf", model, as_kind(Kind.Q4_0)).read_bytes()
    start_of_tokens = content.index(b"tokenizer.ggml.tokens")
    start_of_tensors = content.index(b"token_embd.weight")
    file = tmp_path / "damaged.gguf"
    refused = 0
    offsets = [*range(0, start_of_tokens, 2), *range(start_of_tokens, start_of_tensors, 197)]
    for offset in [*offsets, *range(start_of_tensors, start_of_tensors + 900, 2)]:
        for value in (0x00, 0xFF, content[offset] ^ 1):
            damaged = bytearray(content)
            damaged[offset] = value
            file.write_bytes(damaged)
            try:
                read_everything(file)
            except UnsupportedModelError:
                refused += 1
    assert refused > 500


def test_listing_needs_neither_torch_nor_numpy(tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "model.gguf", make_model("llama"))
    script = (
        "import sys; from pathlib import Path; from engine.loading.gguf_file import GgufFile\n"
        "import engine.loading.local_stores\n"
        f"file = GgufFile(Path({str(file)!r})); file.config(); file.tokenizer_json(); file.kind\n"
        "print(sorted({'torch', 'numpy', 'gguf', 'transformers'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
