"""The kernels compute the same as torch: products, attention, and steps of complete models."""

import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks.stepped_scheduler import finish_preparing, new_cache, run_alone, text_of
from engine.api import GenerationRequest
from engine.kernels import build
from engine.kernels.native import Native
from engine.kernels.structures import INT8, kind_of, matrix
from engine.loading.load import load
from engine.network.backend import Backend
from engine.network.batch import BatchEntry
from engine.network.lean_forward import LeanForward
from engine.network.model import LoadedModel
from engine.network.quantised import Bits, Quantised
from engine.settings import Dtype, EngineSettings
from tests.checkpoint_maker import make_checkpoint

GROUP = 64


@pytest.fixture(scope="module")
def native() -> Native:
    kernels = build.KernelBuild().wait(timeout=120)
    if kernels is None:
        pytest.skip("optional: needs a C++ compiler")
    return kernels


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose widths suit the kernels: five heads of 16."""
    folder = tmp_path_factory.mktemp("sixteens")
    return make_checkpoint(folder, n_embd=80, n_head=5, n_layer=3, dtype=torch.bfloat16)


def rounded(x: Tensor) -> Tensor:
    """Round activations to 8 bits, with one scale for every 64."""
    columns = x.shape[1]
    groups = torch.nn.functional.pad(x, (0, -columns % GROUP)).unflatten(1, (-1, GROUP))
    scales = groups.abs().amax(-1, keepdim=True).clamp(min=1e-30) / 127
    return ((groups / scales).round() * scales).flatten(1)[:, :columns]


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize("shape", [(16, 16), (48, 32), (70, 160), (400, 336)])
@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 17, 40])
@pytest.mark.parametrize("bits", [8, 4])
def test_a_quantised_product_is_exact(
    native: Native, shape: tuple[int, int], count: int, bits: Bits
) -> None:
    weights = Quantised(random(*shape), random(shape[0]), bits)
    x = random(count, shape[1])
    stored = weights.rows(torch.arange(shape[0])).double()
    assert weights.bias is not None
    expected = (rounded(x).double() @ stored.T + weights.bias).float()
    torch.testing.assert_close(
        native.product(weights.native_matrix, x), expected, atol=1e-4, rtol=1e-5
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("count", [1, 3, 5, 8, 20])
def test_a_plain_product_is_exact(native: Native, dtype: torch.dtype, count: int) -> None:
    weight, bias, x = random(70, 160).to(dtype), random(70), random(count, 160)
    weights = matrix(kind_of(dtype), (70, 160), weight, None, bias)
    expected = torch.nn.functional.linear(x, weight.float(), bias)
    torch.testing.assert_close(native.product(weights, x), expected, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("outlier", [0.0, 1e4])
def test_a_row_of_zeros_or_with_an_outlier_has_a_finite_product(
    native: Native, outlier: float
) -> None:
    weights = Quantised(torch.zeros(32, 64), None, 4)
    x = torch.zeros(2, 64)
    x[0, 0] = outlier
    assert native.product(weights.native_matrix, x).abs().max() == 0


@pytest.mark.parametrize(("bits", "tolerance"), [(8, 0.01), (4, 0.085)])
def test_quantised_weights_are_close_to_the_original(bits: Bits, tolerance: float) -> None:
    weight = random(300, 200)
    stored = Quantised(weight, None, bits).rows(torch.arange(300))
    assert (stored - weight).norm() / weight.norm() < tolerance


@pytest.fixture
def backend(native: Native) -> Backend:
    """A backend whose kernels are compiled."""
    backend = Backend(build.KernelBuild())
    assert backend.wait() is not None
    return backend


@pytest.mark.parametrize("bits", [8, 4])
def test_expanded_weights_are_the_same(native: Native, bits: Bits) -> None:
    weights = Quantised(random(70, 160), None, bits)
    expanded = native.expand(weights.native_matrix, 3, 50)
    assert torch.equal(expanded, weights.rows(torch.arange(3, 53)).bfloat16())


@pytest.mark.parametrize("bits", [8, 4])
def test_without_kernels_torch_computes_the_product(bits: Bits) -> None:
    weights, x = Quantised(random(70, 160), random(70), bits), random(5, 160)
    rows = weights.rows(torch.arange(70))
    torch.testing.assert_close(weights(x), x @ rows.T + weights.bias, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("bits", [8, 4])
def test_weights_are_expanded_for_a_matrix_unit(
    native: Native, backend: Backend, bits: Bits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    weights, x = Quantised(random(2100, 160), random(2100), bits, backend), random(40, 160)
    expected = x @ weights.rows(torch.arange(2100)).T + weights.bias
    assert not torch.equal(weights(x), native.product(weights.native_matrix, x))
    torch.testing.assert_close(weights(x), expected, atol=0.3, rtol=0.02)
    few = weights(x[:3])
    assert torch.equal(few, native.product(weights.native_matrix, x[:3]))


def logits(model: LoadedModel, ids: Sequence[int], sizes: Sequence[int]) -> Tensor:
    """Return the logits of all ids, computed in steps of the given sizes."""
    cache, start, parts = new_cache(model), 0, []
    with torch.inference_mode():
        for size in sizes:
            step_ids = tuple(ids[start : start + size])
            parts.append(model.forward([BatchEntry(step_ids, cache, size)])[0].clone())
            cache.commit(step_ids)
            start += size
    assert start == len(ids)
    return torch.cat(parts)


def load_quietly(name: Path | str, dtype: Dtype) -> LoadedModel:
    """Load a model and wait for its kernels."""
    model = load(EngineSettings(model=str(name), dtype=dtype), lambda *_: None).model
    finish_preparing(model.forward)
    return model


def without_fused_step(model: LoadedModel) -> LoadedModel:
    """The same weights without the fused step; quantised products still use the kernels."""
    assert isinstance(model.forward, LeanForward)
    assert model.forward.supports_fused
    return replace(model, forward=LeanForward(model.forward.weights))


@pytest.mark.parametrize("name", ["sixteens", "demo"])
def test_a_fused_step_equals_the_plain_one(native: Native, checkpoint: Path, name: str) -> None:
    model = load_quietly(checkpoint if name == "sixteens" else "demo", "float32")
    ids, sizes = range(19, 119), [60, 20, 12, 1, 1, 1, 2, 3]
    fused = logits(model, ids, sizes)
    plain = logits(without_fused_step(model), ids, sizes)
    torch.testing.assert_close(fused, plain, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("sizes", [[1] * 50, [50]])
def test_a_fused_step_in_bfloat16_is_more_exact_than_the_plain_one(
    native: Native, checkpoint: Path, sizes: list[int]
) -> None:
    exact, narrow = (load_quietly(checkpoint, dtype) for dtype in ("float32", "bfloat16"))
    ids = range(19, 69)
    assert isinstance(narrow.forward, LeanForward)
    fused_step = narrow.forward.fused_step()
    assert fused_step is not None
    fused_step.supports_prefill = True  # as if torch had no instructions for such products
    truth = logits(without_fused_step(exact), ids, sizes)
    plain = (logits(without_fused_step(narrow), ids, sizes) - truth).norm()
    fused = (logits(narrow, ids, sizes) - truth).norm()
    assert fused < plain


@pytest.mark.parametrize("dtype", ["int8", "int4"])
def test_a_fused_step_with_quantised_weights_equals_its_products(
    native: Native, checkpoint: Path, dtype: Dtype
) -> None:
    model = load_quietly(checkpoint, dtype)
    ids, sizes = range(19, 99), [40, 20, 12, 1, 1, 1, 2, 3]
    fused = logits(model, ids, sizes)
    plain = logits(without_fused_step(model), ids, sizes)
    # Where float32 rounds differently, an activation may become the neighbouring number.
    assert torch.nn.functional.cosine_similarity(plain, fused).min() > 0.999


@pytest.mark.parametrize(
    ("dtype", "min_similarity"), [("bfloat16", 0.9999), ("int8", 0.99), ("int4", 0.9)]
)
def test_the_embedded_model_changes_little_in_fewer_bits(
    native: Native, dtype: Dtype, min_similarity: float
) -> None:
    exact, narrow = load_quietly("demo", "float32"), load_quietly("demo", dtype)
    assert narrow.info.dtype == dtype
    ids = exact.tokenizer.encode("def mean(numbers):\n    total = 0\n")
    truth, approximation = (logits(model, ids, [len(ids)]) for model in (exact, narrow))
    similarity = torch.nn.functional.cosine_similarity(truth, approximation)
    assert similarity.min() > min_similarity


def test_the_output_is_the_same_with_and_without_fused_steps(native: Native) -> None:
    model = load_quietly("demo", "float32")
    prompt = tuple(model.tokenizer.encode("def mean(numbers):\n"))
    request = GenerationRequest(prompt, 60)
    texts = [text_of(run_alone(each, request)) for each in (model, without_fused_step(model))]
    assert texts[0] == texts[1]
    assert len(texts[0]) > 50


CHECK = Path(__file__).with_name("kernels_check.cpp")


def check(compiler: str, flags: list[str], program: Path, *runner: str) -> str:
    """Compile the check for a kind of processor, run it and return its output."""
    flags = ["-std=c++17", "-O1", "-Wno-psabi", *flags]
    subprocess.run([compiler, *flags, str(CHECK), "-o", str(program)], check=True)
    done = subprocess.run([*runner, str(program)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("-march=native", " bytes of vector"),
        ("-march=x86-64-v3", "32 bytes of vector, no products of bytes"),  # AVX2
        ("-march=x86-64", "16 bytes of vector, no products of bytes"),
    ],
)
def test_the_kernels_are_exact_on_any_processor(
    native: Native, tmp_path: Path, flags: str, expected: str
) -> None:
    if platform.machine() != "x86_64":
        pytest.skip("optional: needs an x86-64 processor")
    if "v3" in flags and "avx2" not in Path("/proc/cpuinfo").read_text(encoding="utf-8"):
        pytest.skip("optional: needs a processor with AVX2")
    assert expected in check("c++", [flags], tmp_path / "check")


@pytest.mark.parametrize("extension", ["", "+dotprod"])
def test_the_kernels_are_exact_on_arm(tmp_path: Path, extension: str) -> None:
    compiler, runner = "aarch64-linux-gnu-g++", "qemu-aarch64"
    if not (shutil.which(compiler) and shutil.which(runner)):
        pytest.skip("optional: needs g++-aarch64-linux-gnu and qemu-user, see CONTRIBUTING.md")
    flags = [f"-march=armv8.2-a{extension}", "-static"]
    output = check(compiler, flags, tmp_path / "check", runner)
    assert ("no products" in output) == (not extension)


def test_the_process_has_one_openmp_runtime() -> None:
    script = (
        "import torch; from engine.kernels.build import KernelBuild; "
        "assert KernelBuild().wait() is not None; torch.ones(300, 300) @ torch.ones(300, 300);"
        "maps = open('/proc/self/maps').read().split();"
        "print(len({part for part in maps if any(n in part for n in ('gomp', 'iomp', 'libomp'))}))"
    )
    if not Path("/proc/self/maps").exists() or build.KernelBuild().wait() is None:
        pytest.skip("optional: needs Linux and a C++ compiler")
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) == 1


def test_without_a_compiler_the_error_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(build.NoKernelsError, match=r"C\+\+ compiler"):
        build.load_kernels(tmp_path)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("start", "count"), [(0, 40), (0, 64), (7, 33), (100, 65), (3, 5)])
@pytest.mark.parametrize("dim", [16, 64, 80])
@pytest.mark.parametrize(("kv_heads", "window"), [(1, None), (2, 20), (6, None)])
def test_attention_of_many_rows_is_exact(
    native: Native,
    dtype: torch.dtype,
    start: int,
    count: int,
    dim: int,
    kv_heads: int,
    window: int | None,
) -> None:
    heads, rows = 6, start + count
    query = random(count, heads * dim).to(dtype)
    # As in a cache with space for more rows.
    keys, values = random(2, kv_heads, rows + 5, dim).to(dtype)[:, :, :rows].unbind()
    assert native.can_attend(keys) is native.is_fast_for_many_rows(INT8)
    actual = native.attend(query, keys, values, dim**-0.5, window)
    by_head = query.float().view(count, kv_heads, -1, dim).permute(1, 2, 0, 3)
    scores = by_head @ keys.float().mT[:, None] * dim**-0.5
    columns, positions = torch.arange(rows), torch.arange(start, rows)[:, None]
    hidden = columns > positions
    if window is not None:
        hidden |= columns <= positions - window
    probabilities = scores.masked_fill(hidden, -torch.inf).softmax(-1)
    output = probabilities @ values.float()[:, None]
    expected = output.permute(2, 0, 1, 3).reshape(count, heads * dim)
    tolerance = 1e-5 if dtype == torch.float32 else 0.03
    torch.testing.assert_close(actual.float(), expected, atol=tolerance, rtol=tolerance)
