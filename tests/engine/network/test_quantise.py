"""Weights are rounded to the nearest values of their grids."""

import pytest
import torch
from torch import Tensor

from engine.network import quantised
from engine.network.quantise import GROUP, Grids, quantise
from engine.network.quantised import Quantised


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def values(weights: Quantised) -> Tensor:
    return weights.rows(torch.arange(weights.shape[0]))


def on_grids(rows: int, columns: int) -> tuple[Tensor, Grids]:
    """Return weights on grids that bfloat16 represents exactly, of which few use both ends."""
    numbers = torch.randint(2, 15, (rows, columns // GROUP, GROUP)).float()
    scales = torch.randint(1, 100, (rows, columns // GROUP)) / 64
    minima = -torch.randint(0, 200, (rows, columns // GROUP)) / 16
    weight = numbers * scales[..., None] + minima[..., None]
    return weight.flatten(1), Grids(scales, minima)


def test_weights_on_grids_keep_their_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantised, "CHUNK_ROWS", 32)
    torch.manual_seed(0)
    weight, grids = on_grids(70, 96)
    assert torch.equal(values(Quantised(weight, None, 4, grids=grids)), weight)
    assert not torch.equal(values(Quantised(weight, None, 4)), weight)


def test_grids_of_parts_are_stacked_and_reordered() -> None:
    torch.manual_seed(0)
    (first, first_grids), (second, second_grids) = on_grids(16, 64), on_grids(32, 64)
    order = torch.randperm(48)
    weight = torch.cat([first, second])[order]
    grids = Grids.stacked([first_grids, second_grids]).take(order)
    assert torch.equal(values(Quantised(weight, None, 4, grids=grids)), weight)


def test_a_fitted_grid_has_less_error_than_one_from_smallest_to_largest() -> None:
    weight = random(200, 320)
    groups = weight.view(200, -1, GROUP)
    minima, maxima = groups.amin(2), groups.amax(2)
    plain = Grids((maxima - minima) / 15, minima)
    fitted_error = (values(Quantised(weight, None, 4)) - weight).norm()
    plain_error = (values(Quantised(weight, None, 4, grids=plain)) - weight).norm()
    assert fitted_error < 0.97 * plain_error
    assert plain_error < 0.09 * weight.norm()


@pytest.mark.parametrize("constant", [0.0, 1.5, -3.0])
def test_a_group_of_equal_weights_is_exact(constant: float) -> None:
    weight = random(16, 64)
    weight[3, 32:] = constant
    assert torch.equal(values(Quantised(weight, None, 4))[3, 32:], weight[3, 32:])


def test_weights_of_one_sign_are_as_exact_as_others() -> None:
    """Without a minimum, half of the values would be for the other sign."""
    weight = random(64, 64)
    errors = [
        (values(Quantised(weight + offset, None, 4)) - weight - offset).norm() / weight.norm()
        for offset in (0.0, 4.0)
    ]
    assert errors[1] < 1.1 * errors[0]


def test_scales_and_numbers_are_padded_to_blocks() -> None:
    numbers, scales = quantise(random(20, 80), 4)
    assert (numbers.shape, numbers.dtype) == ((2, 12, 16, 4), torch.uint8)
    assert (scales.shape, scales.dtype) == ((2, 3, 16, 2), torch.bfloat16)
    assert not scales[1, :, 4:].any()
