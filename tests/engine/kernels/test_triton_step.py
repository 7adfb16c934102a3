"""Triton's kernels of a decoding step, on a GPU or in its interpreter, and compiled."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.engine.kernels.triton_process import run_triton_program

TOLERANCES = {"float32": 1e-5, "float16": 2e-3, "bfloat16": 1e-2}
"""Largest difference, as a share of the largest number.

The last bit of a 16-bit number is truncated in the interpreter instead of rounded.
"""
MAX_SHARED = {80: 99 * 1024, 90: 113 * 1024}
"""Maximum bytes of shared memory by capability.

The GPUs from Ampere (2020) on that have least allow 99 KB, and are compiled for like 80. On Hopper
two programs of 113 KB share a multiprocessor.
"""

ATTENTION_CASES = [
    "a row in the first column",
    "a row in the last column",
    "the start of a prompt",
    "rows across the end of a split",
    "rows in the last columns",
    "sequences of all lengths",
    "several rows of several sequences",
    "many heads",
    "a dim that is no power of two",
    "a window that is no power of two",
    "several blocks of columns in a split",
    "a long window",
    "grouped heads",
    "a key for every head",
    "rotary positions",
    "norms of heads",
    "all of Qwen3",
    "a sliding window",
    "a window of one position",
]
STEPS = [
    "a prompt",
    "one row",
    "draft tokens",
    "a second prompt",
    "a third prompt",
    "three sequences",
    "qwen3",
    "granite",
    "mistral",
    "starcoder2",
]

# Triton's interpreter takes a minute for all cases, which the first test waits for.
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def results() -> dict[str, dict[str, float]]:
    return run_triton_program("tests.engine.kernels.triton_step_program")


@pytest.mark.parametrize("norm", ["norm", "sum and norm", "RMS norm", "sum and RMS norm"])
@pytest.mark.parametrize("dtype", TOLERANCES)
def test_norms_are_close_to_those_of_torch(
    results: dict[str, dict[str, float]], norm: str, dtype: str
) -> None:
    errors = results[f"{norm} {dtype}"]
    assert errors["total"] < TOLERANCES[dtype]
    assert errors["normed"] < TOLERANCES[dtype]
    if not norm.startswith("sum"):
        assert errors["total"] == 0.0


@pytest.mark.parametrize("case", ATTENTION_CASES)
@pytest.mark.parametrize("dtype", TOLERANCES)
def test_attention_is_close_to_plain_arithmetic(
    results: dict[str, dict[str, float]], case: str, dtype: str
) -> None:
    assert results[f"{case} {dtype}"]["output"] < TOLERANCES[dtype]


@pytest.mark.parametrize("case", ATTENTION_CASES)
@pytest.mark.parametrize("dtype", TOLERANCES)
def test_keys_and_values_are_written_to_their_rows_and_nowhere_else(
    results: dict[str, dict[str, float]], case: str, dtype: str
) -> None:
    assert results[f"{case} {dtype}"]["wrong rows"] == 0


@pytest.mark.parametrize("step", STEPS)
def test_a_static_step_has_the_logits_of_torch(
    results: dict[str, dict[str, float]], step: str
) -> None:
    assert results["steps"][step] < 1e-4


def test_each_result_is_tested(results: dict[str, dict[str, float]]) -> None:
    groups = [*ATTENTION_CASES, "norm", "sum and norm", "RMS norm", "sum and RMS norm"]
    assert set(results) == {f"{name} {dtype}" for name in groups for dtype in TOLERANCES} | {
        "steps"
    }
    assert set(results["steps"]) == set(STEPS)


@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize(
    ("heads", "dim", "width"),
    [(64, 128, 8192), (16, 128, 2048), (16, 16, 32)],
    ids=["15b", "1b", "small"],
)
def test_the_kernels_can_be_compiled(
    heads: int, dim: int, width: int, capability: int, compile_kernel: Callable[..., Any]
) -> None:
    """The compiler is stricter than the interpreter, and a GPU has little shared memory.

    The sizes are the next powers of two.
    """
    from engine.kernels import triton_step as triton_step

    names = ("mixed", "cache", "output", "hidden", "addition", "weight", "bias", "total", "normed")
    kinds = dict.fromkeys((*names, "query_norm", "key_norm"), "*bf16")
    kinds |= dict.fromkeys(("sums", "statistics", "rotations"), "*fp32")
    kinds |= dict.fromkeys(("places", "positions", "bases"), "*i64")
    numbers = ("width", "stride", "head_stride", "dim", "heads", "kv_heads", "first_head")
    numbers += ("window", "span", "splits", "rows_per_sequence")
    kinds |= dict.fromkeys(numbers, "i32")
    kinds |= dict.fromkeys(("scale", "epsilon", "addition_scale"), "fp32")
    attention = {"GROUP": heads, "DIM": dim, "COLUMNS": triton_step.COLUMNS}
    place = {"PAIRS": dim // 2}
    combination = {"DIM": dim, "MAX_SPLITS": triton_step.MAX_SPLITS}
    for kernel, constants, num_warps in (
        (triton_step.add_norm_kernel, {"HAS_ADDITION": True, "IS_RMS": False, "WIDTH": width}, 8),
        (triton_step.add_norm_kernel, {"HAS_ADDITION": False, "IS_RMS": True, "WIDTH": width}, 4),
        (triton_step.place_kernel, place | {"HAS_ROTATIONS": False, "HAS_NORMS": False}, 1),
        (triton_step.place_kernel, place | {"HAS_ROTATIONS": True, "HAS_NORMS": True}, 1),
        (triton_step.attention_kernel, attention, 4),
        (triton_step.combine_kernel, combination, 1),
    ):
        compiled = compile_kernel(kernel, kinds, constants, num_warps=num_warps)
        assert compiled.metadata.shared <= MAX_SHARED[capability]
        assert ("mma" in compiled.asm["ptx"]) is (kernel is triton_step.attention_kernel)


def test_a_gpu_without_the_instructions_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton", reason="optional: needs Triton")
    from engine.kernels import triton_step as triton_step

    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    with pytest.raises(RuntimeError, match="older than Ampere"):
        triton_step.check_device(torch.device("cuda"))
