"""Products of quantised weights in Triton, on a GPU or in its interpreter, and compiled."""

import logging
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

from engine.network import quantised
from tests.engine.kernels.triton_process import run_triton_program

# Largest difference, as a share of the largest number. float32 sums are in another order. The other
# results have 11 or 8 bits, the last of which the interpreter truncates instead of rounding.
TOLERANCES = {"float32": 1e-6, "float16": 1e-3, "bfloat16": 1e-2}
ROW_TOLERANCES = {"float32": 1e-4, "float16": 1e-3, "bfloat16": 1e-2}
"""The same with activations in 16 bits."""

# Triton's interpreter takes its time for all cases, which the first test waits for.
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def errors() -> dict[str, float]:
    return run_triton_program("tests.engine.kernels.triton_program")


@pytest.mark.parametrize("check", ["product_error", "expand_error", "call_error"])
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("dtype", TOLERANCES)
def test_results_are_close_to_plain_arithmetic(
    errors: dict[str, float], check: str, bits: int, dtype: str
) -> None:
    assert errors[f"{check} {bits} {dtype}"] < TOLERANCES[dtype]


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("dtype", TOLERANCES)
def test_products_of_one_row_are_close_to_plain_arithmetic(
    errors: dict[str, float], bits: int, dtype: str
) -> None:
    assert errors[f"row_error {bits} {dtype}"] < ROW_TOLERANCES[dtype]


@pytest.mark.parametrize("capability", [80, 90])
def test_the_kernels_can_be_compiled(capability: int, compile_kernel: Callable[..., Any]) -> None:
    """The compiler is stricter than the interpreter, and a GPU has little shared memory."""
    from engine.kernels import triton_products as triton_products

    for bits, scale in ((8, "*fp32"), (4, "*i32")):
        numbers = dict.fromkeys(("rows", "columns", "outputs", "words", "first"), "i32")
        compiled = compile_kernel(
            triton_products.expand_kernel,
            {"numbers": "*u8", "scales": scale, "wide": "*bf16", **numbers},
            {"BITS": bits, "COLUMNS": triton_products.EXPANDED_COLUMNS},
        )
        assert "st.global.v4" in compiled.asm["ptx"]
        for rows, words, blocks, stages in triton_products.TILES:
            sizes = {"ROWS": rows, "WORDS": words, "BLOCKS": blocks, "STAGES": stages}
            tensors = {"x": "*bf16", "bias": "*bf16", "y": "*bf16", "numbers": "*i32"}
            compiled = compile_kernel(
                triton_products.product_kernel,
                {**tensors, "scales": scale, **numbers},
                {"BITS": bits, "HAS_BIAS": True, **sizes},
            )
            assert compiled.metadata.shared <= 96 * 1024
            # Weights are prefetched, sixteen bytes at a time.
            assert "cp.async.cg.shared.global [" in compiled.asm["ptx"]
            assert "mma.sync" in compiled.asm["ptx"]


@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("bits", [8, 4])
def test_the_kernels_for_one_row_can_be_compiled(
    bits: int, capability: int, compile_kernel: Callable[..., Any]
) -> None:
    from engine.kernels import triton_row_products as triton_row_products

    is_early = capability >= 90
    tensors = {"x_words": "*i64", "x_scales": "*fp32", "x_sums": "*i32"}
    numbers = dict.fromkeys(("columns", "outputs", "groups"), "i32")
    compile_kernel(
        triton_row_products.quantise_kernel,
        {"x": "*bf16", **tensors, **numbers},
        {"BITS": bits, "IS_EARLY": is_early},
        num_warps=1,
    )
    scale = {"scales": "*fp32" if bits == 8 else "*i32"}
    groups, stages, warps = triton_row_products.TILES[bits]
    lines = triton_row_products.FETCHED_LINES if is_early else 0
    compiled = compile_kernel(
        triton_row_products.row_kernel,
        {**tensors, "numbers": "*i32", "bias": "*bf16", "y": "*bf16", **scale, **numbers},
        {"BITS": bits, "HAS_BIAS": True, "GROUPS": groups, "STAGES": stages, "LINES": lines},
        num_warps=warps,
        launch_pdl=is_early,
    )
    ptx = compiled.asm["ptx"]
    assert compiled.metadata.shared <= 80 * 1024
    assert ("ld.global.v4" if stages == 1 else "cp.async.cg.shared.global [") in ptx
    # Only the last sum exchanges values between threads.
    assert compiled.asm["ttgir"].count("ttg.convert_layout") <= 1
    assert "dp4a.u32.s32" in ptx
    assert ("griddepcontrol.wait" in ptx) is is_early


@pytest.mark.parametrize(
    ("capability", "is_early"), [((8, 0), False), ((8, 9), False), ((9, 0), True), ((12, 0), True)]
)
def test_kernels_start_early_from_hopper_on(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], *, is_early: bool
) -> None:
    pytest.importorskip("triton", reason="optional: needs Triton")
    from engine.kernels.triton_row_products import can_start_early

    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    can_start_early.cache_clear()
    assert can_start_early(torch.device("cuda")) is is_early
    assert not can_start_early(torch.device("cpu"))
    can_start_early.cache_clear()


def test_without_triton_one_warning_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from engine import kernels

    monkeypatch.delattr(kernels, "triton_products", raising=False)
    monkeypatch.delitem(sys.modules, "engine.kernels.triton_products", raising=False)
    monkeypatch.setitem(sys.modules, "triton", None)
    quantised.triton_products_for.cache_clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert quantised.triton_products_for(8, torch.bfloat16, torch.device("cpu")) is None
    quantised.triton_products_for.cache_clear()
    assert len(caplog.records) == 1
    assert "8 bits" in caplog.text
