"""A run of the recipe can start from the weights of another run."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import PartialState

from training.checkpoint import load_checkpoint, write_weights
from training.demo_run import DemoRunOptions, demo_run
from training.pretrain import TrainingRun


@contextmanager
def small_run(options: DemoRunOptions) -> Iterator[TrainingRun]:
    with demo_run(options, PartialState(cpu=True), lambda _: None) as run:
        yield run


@pytest.fixture(scope="module")
def options(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> DemoRunOptions:
    """Options of a run that starts from new weights."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("run")
    return DemoRunOptions(
        folder, corpus, width=64, layers=1, length=64, steps=2, rows_per_step=2, workers=0
    )


@pytest.fixture(scope="module")
def checkpoint(options: DemoRunOptions) -> Path:
    """A checkpoint of that run, after a step."""
    file = options.folder / "checkpoint.pt"
    with small_run(options) as run:
        run.advance()
        run.save(file)
    return file


def has_weights_of(run: TrainingRun, file: Path) -> bool:
    expected, weights = load_checkpoint(file).model.state_dict(), run.model.state_dict()
    assert weights.keys() == expected.keys()
    return all(torch.equal(tensor, expected[name]) for name, tensor in weights.items())


@pytest.mark.parametrize("has_optimizers", [True, False])
def test_a_run_starts_from_the_weights_of_another(
    options: DemoRunOptions, checkpoint: Path, tmp_path: Path, *, has_optimizers: bool
) -> None:
    initial = checkpoint
    if not has_optimizers:
        initial = tmp_path / "weights.pt"
        write_weights(checkpoint, initial)
    with small_run(replace(options, folder=tmp_path, initial=initial, seed=5)) as run:
        assert run.step == 0
        assert run.tokens == 0
        assert not any(optimizer.state for optimizer in run.runner.optimizers)
        assert has_weights_of(run, initial)
        assert run.model.lm_head.weight is run.model.transformer.wte.weight
        run.advance()
        assert not has_weights_of(run, initial)


def test_without_an_initial_checkpoint_weights_are_random(
    options: DemoRunOptions, checkpoint: Path, tmp_path: Path
) -> None:
    with small_run(replace(options, folder=tmp_path)) as run:
        assert not has_weights_of(run, checkpoint)


@pytest.mark.parametrize("shape", [{"width": 128}, {"layers": 2}, {"length": 32}])
def test_a_checkpoint_of_another_shape_is_refused(
    options: DemoRunOptions, checkpoint: Path, tmp_path: Path, shape: dict[str, Any]
) -> None:
    other = replace(options, folder=tmp_path, initial=checkpoint, **shape)
    with pytest.raises(RuntimeError, match=r"size mismatch|Missing key"), small_run(other):
        pass


def test_a_checkpoint_that_does_not_exist_is_an_error(
    options: DemoRunOptions, tmp_path: Path
) -> None:
    other = replace(options, folder=tmp_path, initial=tmp_path / "absent.pt")
    with pytest.raises(FileNotFoundError), small_run(other):
        pass
