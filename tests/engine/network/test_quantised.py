"""Many rows are multiplied by expanded weights, of which a GPU expands many at a time."""

from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.network import quantised
from engine.network.quantised import Bits, Quantised

SHAPE = (200, 64)


class ExpandedRows:
    """Stands in for Triton's kernels: it expands rows with torch, and remembers which."""

    def __init__(self, weights: Quantised) -> None:
        self.chunks: list[tuple[int, int]] = []
        self._weights = weights

    def __call__(
        self,
        numbers: Tensor,
        scales: Tensor,
        first: int,
        count: int,
        columns: int,
        dtype: torch.dtype,
    ) -> Tensor:
        assert numbers is self._weights.numbers
        assert scales is self._weights.scales
        assert columns == SHAPE[1]
        self.chunks.append((first, count))
        return self._weights.rows(torch.arange(first, first + count)).to(dtype)


def on_gpu(bits: Bits) -> tuple[Quantised, ExpandedRows]:
    """Return weights that behave as on a GPU, and the record of what they expand."""
    torch.manual_seed(0)
    weights = Quantised(torch.randn(SHAPE), torch.randn(SHAPE[0]), bits)
    kernels: Any = ModuleType("kernels")
    kernels.MAX_ROWS, kernels.expand = 4, ExpandedRows(weights)
    weights.triton = kernels
    return weights, kernels.expand


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize(
    ("dtype", "max_bytes", "chunks"),
    [
        # As many blocks of 16 rows as fit.
        (torch.float32, 100 * 64 * 4, [(0, 96), (96, 96), (192, 8)]),
        (torch.bfloat16, 100 * 64 * 4, [(0, 192), (192, 8)]),
        (torch.float32, 96 * 64 * 4, [(0, 96), (96, 96), (192, 8)]),
        (torch.float32, 10**6, [(0, 200)]),
        # At least as many as without a GPU.
        (torch.float32, 0, [(first, min(32, 200 - first)) for first in range(0, 200, 32)]),
    ],
)
def test_a_gpu_expands_as_many_rows_at_a_time_as_the_memory_allows(
    bits: Bits,
    dtype: torch.dtype,
    max_bytes: int,
    chunks: list[tuple[int, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quantised, "GPU_CHUNK_BYTES", max_bytes)
    monkeypatch.setattr(quantised, "CHUNK_ROWS", 32)
    weights, expanded = on_gpu(bits)
    x = torch.randn(5, SHAPE[1]).to(dtype)
    result = weights(x)
    assert expanded.chunks == chunks
    assert result.dtype is dtype
    assert weights.bias is not None
    exact = x.double() @ weights.rows(torch.arange(SHAPE[0])).double().T + weights.bias.double()
    error = (result.double() - exact).abs().max() / exact.abs().max()
    assert error < (1e-5 if dtype is torch.float32 else 1e-2)
