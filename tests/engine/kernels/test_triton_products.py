"""Triton's products of quantised weights, in its interpreter or on a GPU, and compiled for some."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.network import quantised

PROGRAM = "tests.engine.kernels.triton_program"

# A share of the largest number: float32 sums in another order; results of 11 or 8 bits, the last of
# which the interpreter cuts off rather than rounds.
CLOSE = {"float32": 1e-6, "float16": 1e-3, "bfloat16": 1e-2}


@pytest.fixture(scope="module")
def distances() -> dict[str, float]:
    pytest.importorskip("triton", reason="optional: needs Triton")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if not torch.cuda.is_available():
        environment["TRITON_INTERPRET"] = "1"
    done = subprocess.run(
        [sys.executable, "-m", PROGRAM],
        env=environment,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("what", ["of_products", "of_weights", "of_calls"])
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("dtype", CLOSE)
def test_they_are_near_plain_arithmetic(
    distances: dict[str, float], what: str, bits: int, dtype: str
) -> None:
    assert distances[f"{what} {bits} {dtype}"] < CLOSE[dtype]


@pytest.mark.parametrize("capability", [80, 90])
def test_they_can_be_compiled(
    capability: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the interpreter lets pass the compiler may not, and the memory of a GPU is small."""
    triton: Any = pytest.importorskip("triton", reason="optional: needs Triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from engine.kernels import triton_products as triton_products

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))

    def compiled(function: Any, signature: dict[str, str], constants: dict[str, Any]) -> Any:
        whole = {name: signature.get(name, "constexpr") for name in function.arg_names}
        even = [
            at
            for at, (name, kind) in enumerate(whole.items())
            if kind != "constexpr" and name not in function.do_not_specialize
        ]
        aligned = {(at,): [["tt.divisibility", 16]] for at in even}
        source = ASTSource(function, whole, constants, aligned)
        return triton.compile(source, target=GPUTarget("cuda", capability, 32))

    for bits, scale in ((8, "*fp32"), (4, "*bf16")):
        numbers = dict.fromkeys(("rows", "columns", "outputs", "words", "first"), "i32")
        made = compiled(
            triton_products._expand,
            {"numbers": "*u8", "scales": scale, "wide": "*bf16", **numbers},
            {"BITS": bits, "COLUMNS": triton_products._EXPANDED},
        )
        assert "st.global.v4" in made.asm["ptx"]
        for rows, words, blocks, stages in triton_products._SHAPES:
            sizes = {"ROWS": rows, "WORDS": words, "BLOCKS": blocks, "STAGES": stages}
            tensors = {"x": "*bf16", "bias": "*bf16", "y": "*bf16", "numbers": "*i32"}
            made = compiled(
                triton_products._product,
                {**tensors, "scales": scale, **numbers},
                {"BITS": bits, "HAS_BIAS": True, **sizes},
            )
            assert made.metadata.shared <= 64 * 1024
            # Weights are fetched ahead, sixteen bytes at a time.
            assert "cp.async.cg.shared.global [" in made.asm["ptx"]
            assert ("mma.sync" in made.asm["ptx"]) is (rows > 1)


def test_where_there_is_no_triton_it_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import engine

    monkeypatch.delattr(engine, "triton_products", raising=False)
    monkeypatch.delitem(sys.modules, "engine.kernels.triton_products", raising=False)
    monkeypatch.setitem(sys.modules, "triton", None)
    quantised._triton_products.cache_clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert quantised._triton_products(8, torch.bfloat16, torch.device("cpu")) is None
    quantised._triton_products.cache_clear()
    assert len(caplog.records) == 1
    assert "8 bits" in caplog.text
