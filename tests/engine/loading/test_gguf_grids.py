"""Weights of 4-bit GGUF files keep their values in the engine's 4 bits."""

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Kind
from gguf.quants import dequantize, quantize

from engine.api import EngineInfo
from engine.loading.gguf_file import GgufFile
from engine.loading.load import load
from engine.network.lean_forward import LeanForward
from engine.network.quantise import Bits
from engine.network.quantised import Quantised
from engine.network.weights import Weights
from engine.settings import EngineSettings
from tests.engine.loading.gguf_maker import Encode, as_kind, make_model, write_gguf

WIDTHS = {"hidden_size": 256, "intermediate_size": 512, "vocab_size": 400}
"""Sizes of which the formats with blocks of 256 weights can have rows."""
ROUNDING = 2**-7
"""Largest error of scale and minimum in bfloat16 together, as a share of the largest weight."""


def random_blocks(kind: Kind, tensor: torch.Tensor) -> np.ndarray:
    """Return random blocks of a format, whose scales and minima are finite."""
    block, size = gguf.GGML_QUANT_SIZES[kind]
    shape = tensor.shape[0], tensor.shape[1] // block, size
    blocks = np.random.default_rng(tensor.numel()).integers(0, 256, shape, dtype=np.uint8)
    # Numbers of float16 with either sign: a half to one, times 2^-8.
    first, count = {Kind.Q6_K: (208, 1), Kind.Q4_0: (0, 1)}.get(kind, (0, 2))
    for byte in range(first + 1, first + 2 * count, 2):
        blocks[..., byte] = blocks[..., byte] & 0x83 | 0x1C
    return blocks.reshape(tensor.shape[0], -1)


def mixture(*wide: str) -> Encode:
    """Matrices in Q4_K, but those in `wide` in Q6_K."""

    def encode(name: str, tensor: torch.Tensor) -> tuple[np.ndarray, Kind]:
        if tensor.dim() == 1:
            return tensor.numpy(), Kind.F32
        kind = Kind.Q6_K if name in wide else Kind.Q4_K
        return random_blocks(kind, tensor), kind

    return encode


def blocks_of(kind: Kind) -> Encode:
    def encode(_: str, tensor: torch.Tensor) -> tuple[np.ndarray, Kind]:
        if tensor.dim() == 1:
            return tensor.numpy(), Kind.F32
        return random_blocks(kind, tensor), kind

    return encode


def load_weights(path: Path, dtype: str = "auto") -> tuple[Weights, EngineInfo]:
    settings = EngineSettings(model=str(path), device="cpu", dtype=dtype)  # type: ignore[arg-type]
    model = load(settings, lambda *_: None).model
    assert isinstance(model.forward, LeanForward)
    return model.forward.weights, model.info


def bits_of(table: object) -> Bits:
    assert isinstance(table, Quantised)
    return 8 if table.scales.ndim == 2 else 4


def all_rows(table: object) -> torch.Tensor:
    assert isinstance(table, Quantised)
    return table.rows(torch.arange(table.shape[0]))


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q4_K"])
@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gpt_bigcode"])
def test_weights_in_4_bits_keep_their_values(kind: str, architecture: str, tmp_path: Path) -> None:
    """Also in the rows of q and k, which the file has in another order."""
    model = make_model(architecture, **WIDTHS)
    path = write_gguf(tmp_path / "model.gguf", model, blocks_of(Kind[kind]))
    weights, info = load_weights(path)
    exact, _ = load_weights(path, "float32")
    assert info.dtype == "int4"
    pairs = [(weights.tokens, exact.tokens)]
    for layer, exact_layer in zip(weights.layers, exact.layers, strict=True):
        pairs += [(layer.products[name], exact_layer.products[name]) for name in layer.products]
    for table, exact_table in pairs:
        assert bits_of(table) == 4
        expected = exact_table.weight
        # The largest error is far smaller than the distance between two values of a grid.
        largest = expected.abs().amax(1, keepdim=True)
        assert ((all_rows(table) - expected).abs() <= ROUNDING * largest).all()


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q4_K"])
def test_grids_have_the_values_of_the_format(kind: str, tmp_path: Path) -> None:
    """All values that the `gguf` package gives are on the grids."""
    model = make_model("qwen2", **WIDTHS)
    path = write_gguf(tmp_path / "model.gguf", model, blocks_of(Kind[kind]))
    file = GgufFile(path)
    assert file.is_4_bit
    grids = file.read_grids("model.layers.0.mlp.up_proj.weight")
    assert grids is not None
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    values = dequantize(tensors["blk.0.ffn_up.weight"].data, Kind[kind])
    groups = torch.from_numpy(values).view(-1, 32)
    scales, minima = grids.scales.view(-1, 1), grids.minima.view(-1, 1)
    assert (scales >= 0).all()
    numbers = ((groups - minima) / scales.clamp(min=1e-9)).round()
    assert set(numbers.unique().tolist()) == set(range(16))
    torch.testing.assert_close(numbers * scales + minima, groups, atol=1e-6, rtol=1e-5)


def test_matrices_with_more_bits_in_a_file_have_8(tmp_path: Path) -> None:
    """llama.cpp's Q4_K_M has more bits for some of the values and of the MLP's last products."""
    model = make_model("llama", tie_word_embeddings=False, **WIDTHS)
    wide = ("blk.0.attn_v.weight", "blk.1.ffn_down.weight", "output.weight")
    path = write_gguf(tmp_path / "model.gguf", model, mixture(*wide))
    weights, info = load_weights(path)
    exact, _ = load_weights(path, "float32")
    assert info.dtype == "int4"
    bits = [
        {name: bits_of(each) for name, each in layer.products.items()} for layer in weights.layers
    ]
    assert bits == [
        {"attention_in": 8, "attention_out": 4, "mlp_in": 4, "mlp_out": 4},
        {"attention_in": 4, "attention_out": 4, "mlp_in": 4, "mlp_out": 8},
    ]
    assert (bits_of(weights.tokens), bits_of(weights.head)) == (4, 8)
    for table, exact_table in (
        (weights.layers[0].products["attention_in"], exact.layers[0].products["attention_in"]),
        (weights.head, exact.head),
    ):
        expected = exact_table.weight
        assert ((all_rows(table) - expected).norm() / expected.norm()) < 0.01


@pytest.mark.parametrize(
    ("kind", "automatic"),
    [("Q4_0", "int4"), ("Q4_1", "int4"), ("Q5_0", "int8"), ("Q8_0", "int8"), ("F16", "float32")],
)
def test_auto_uses_the_bits_of_the_file(kind: str, automatic: str, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "model.gguf", make_model("llama"), as_kind(Kind[kind]))
    weights, info = load_weights(path)
    assert info.dtype == automatic
    # A user may still ask for less, and then only tables have more bits.
    weights, info = load_weights(path, "int4")
    assert info.dtype == "int4"
    assert {bits_of(each) for layer in weights.layers for each in layer.products.values()} == {4}
    assert bits_of(weights.tokens) == (4 if automatic == "int4" else 8)


def test_a_damaged_scale_is_an_error_of_its_weights_only(tmp_path: Path) -> None:
    """A file with infinite scales loads, as with other formats; only its output is useless."""

    def encode(_: str, tensor: torch.Tensor) -> tuple[np.ndarray, Kind]:
        if tensor.dim() == 1:
            return tensor.numpy(), Kind.F32
        blocks = quantize(tensor.numpy(), Kind.Q4_0)
        blocks[0, 0:2] = 0x00, 0x7C  # infinity in float16
        return blocks, Kind.Q4_0

    path = write_gguf(tmp_path / "model.gguf", make_model("llama"), encode)
    weights, _ = load_weights(path)
    rows = all_rows(weights.tokens)
    assert not rows[0, :32].isfinite().all()
    assert rows[1:].isfinite().all()
    assert rows[0, 32:].isfinite().all()
