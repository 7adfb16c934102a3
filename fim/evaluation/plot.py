"""The numbers of an evaluation as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.errors import ConfigurationError
from fim.evaluation.report import Calibration, Row, calibrations, rows
from fim.evaluation.run import Record

_COLOURS = {"raw": "0.65", "pipeline": "C0"}


def require_matplotlib() -> None:
    """Raise ConfigurationError, saying what to do, if no picture can be drawn."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ConfigurationError(
            "A plot needs matplotlib, which is not installed. Run: "
            "pip install 'starcoder-lsp[train]'"
        ) from None


def draw_plot(records: Sequence[Record], picture: Path) -> None:
    """Draw exact match by kind, confidence beside what came of it, and times; PNG or SVG by name.

    Raises ConfigurationError for another ending, or without matplotlib.
    """
    if picture.suffix not in (".png", ".svg"):
        raise ConfigurationError(f"{picture}: a plot is a .png or an .svg.")
    require_matplotlib()
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11, 3.4))
    _exact(left, rows(records, lambda record: f"{record.language}\n{record.kind}"))
    _reliability(middle, calibrations(records, lambda _: "all"))
    _times(right, records)
    for axes in (left, middle, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(picture, dpi=90)
    plt.close(figure)


def _exact(axes: Any, found: Sequence[Row]) -> None:
    groups = sorted({row.group for row in found})
    for offset, way in ((-0.2, "raw"), (0.2, "pipeline")):
        own = {row.group: row for row in found if row.mode == way}
        places = [index + offset for index, group in enumerate(groups) if group in own]
        chosen = [own[group] for group in groups if group in own]
        axes.bar(
            places,
            [100 * row.exact for row in chosen],
            0.38,
            label=way,
            color=_COLOURS[way],
            yerr=[100 * row.exact_error for row in chosen],
            ecolor="0.3",
        )
    axes.set_xticks(range(len(groups)), groups, fontsize=8)
    axes.set(ylabel="filled exactly, % (± one standard error)")
    axes.legend(frameon=False)


def _reliability(axes: Any, found: Sequence[Calibration]) -> None:
    axes.plot([0, 100], [0, 100], color="0.8", linewidth=1)
    for one in found:
        axes.scatter(
            [100 * each.confidence for each in one.bins],
            [100 * each.right for each in one.bins],
            [12 + 200 * each.count / one.count for each in one.bins],
            color="C0",
            alpha=0.8,
        )
        axes.set_title(f"calibration error {one.error:.1%} of {one.count}", fontsize=9)
    axes.set(xlabel="confidence, %", ylabel="first lines that are right, %")


def _times(axes: Any, records: Sequence[Record]) -> None:
    for way, colour in _COLOURS.items():
        own = (record for record in records if record.mode == way and record.timed)
        times = sorted(record.milliseconds for record in own)
        shares = [100 * (index + 1) / len(times) for index in range(len(times))]
        axes.step(times, shares, where="post", label=way, color=colour)
    axes.set(xlabel="time to the answer, ms", ylabel="answered, %", xlim=(0, None))
    axes.legend(frameon=False)
