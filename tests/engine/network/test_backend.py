"""A prefill uses all cores, and the steps after it use the number of threads that suits them."""

from collections.abc import Iterator

import pytest
import torch

from engine.network.backend import Backend, num_decode_threads

NUM_CORES = 3


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    """A backend on a machine with three cores, for a model that decodes with one thread."""
    monkeypatch.setattr("engine.network.backend.num_physical_cores", lambda: NUM_CORES)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield Backend()
    torch.set_num_threads(before)


def test_a_prefill_uses_all_cores(backend: Backend) -> None:
    with backend.prefill_threads():
        assert torch.get_num_threads() == NUM_CORES
    assert torch.get_num_threads() == 1


def test_a_failed_step_restores_the_number_of_threads(backend: Backend) -> None:
    with pytest.raises(RuntimeError, match="planted"), backend.prefill_threads():
        raise RuntimeError("planted")
    assert torch.get_num_threads() == 1


def test_only_a_large_model_decodes_with_all_cores(backend: Backend) -> None:
    backend.use_decode_threads(30_000_000)
    assert torch.get_num_threads() == NUM_CORES
    assert num_decode_threads(29_999_999) == 1
