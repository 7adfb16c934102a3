"""The fit recovers the law that points were computed by, and runs give points."""

import shutil
from pathlib import Path

import pytest

from training.scaling import ScalingLaw, ScalingPoint, fit_law, measure_points

LAW = ScalingLaw(1.5, 20.0, 0.3, 40.0, 0.24, 0.0)


def test_the_fit_recovers_a_law() -> None:
    points = [
        ScalingPoint(0, 0, n, d, LAW.loss(n, d))
        for n in (10**5, 10**6, 10**7)
        for d in (10**6, 10**7, 10**8)
    ]
    fitted = fit_law(points)
    assert fitted.error < 1e-6
    assert fitted.loss(10**8, 10**9) == pytest.approx(LAW.loss(10**8, 10**9), abs=0.01)
    # More compute needs a larger model, but not only a larger one.
    assert 1e4 < fitted.best_weights(1e15) < fitted.best_weights(1e18) < 1e11


def test_too_few_or_contradictory_points_are_refused() -> None:
    with pytest.raises(ValueError, match="4 runs"):
        fit_law([ScalingPoint(0, 0, 1, 1, 1.0)] * 4)
    worse = [
        ScalingPoint(0, 0, n, d, n * d / 1e12) for n in (1000, 2000, 3000) for d in (1000, 2000)
    ]
    with pytest.raises(ValueError, match="no fit"):
        fit_law(worse)


def test_runs_give_points(corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(corpus, folder)
    points = measure_points(folder, [1000, 2000], 128, ((64, 1), (64, 2)), say=lambda _: None)
    assert [(p.layers, p.tokens) for p in points] == [(1, 2048), (1, 2048), (2, 2048), (2, 2048)]
    assert points[2].weights == 2 * points[0].weights
    assert (folder / "scaling.json").exists()
