"""The fit finds the law that points were made by, and runs become points."""

import shutil
from pathlib import Path

import pytest

from training.scaling import Fit, Point, fit, run_points

LAW = Fit(1.5, 20.0, 0.3, 40.0, 0.24, 0.0)


def test_a_known_law_is_found() -> None:
    points = [
        Point(0, 0, n, d, LAW.loss(n, d))
        for n in (10**5, 10**6, 10**7)
        for d in (10**6, 10**7, 10**8)
    ]
    found = fit(points)
    assert found.error < 1e-6
    assert found.loss(10**8, 10**9) == pytest.approx(LAW.loss(10**8, 10**9), abs=0.01)
    # More compute wants a larger model, and neither none nor all of it.
    assert 1e4 < found.best_weights(1e15) < found.best_weights(1e18) < 1e11


def test_too_few_or_senseless_points_are_refused() -> None:
    with pytest.raises(ValueError, match="4 runs"):
        fit([Point(0, 0, 1, 1, 1.0)] * 4)
    worse = [Point(0, 0, n, d, n * d / 1e12) for n in (1000, 2000, 3000) for d in (1000, 2000)]
    with pytest.raises(ValueError, match="no fit"):
        fit(worse)


def test_runs_become_points(corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(corpus, folder)
    points = run_points(folder, [1000, 2000], 128, ((64, 1), (64, 2)), say=lambda _: None)
    assert [(p.layers, p.tokens) for p in points] == [(1, 2048), (1, 2048), (2, 2048), (2, 2048)]
    assert points[2].weights == 2 * points[0].weights
    assert (folder / "scaling.json").exists()
