"""Plots of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.errors import ConfigurationError
from fim.evaluation.report import Calibration, Row, calibrations, rows
from fim.evaluation.run import Record

_COLOURS = {"model": "0.65", "pipeline": "C0"}


def check_picture(picture: Path) -> None:
    """Raise ConfigurationError for a file type that cannot be drawn, or without matplotlib."""
    if picture.suffix not in (".png", ".svg"):
        raise ConfigurationError(f"{picture} is not a supported file type. Use .png or .svg.")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ConfigurationError(
            "Plots need matplotlib, which is not installed. Run: pip install 'starcoder-lsp[train]'"
        ) from None


def draw_plot(records: Sequence[Record], picture: Path) -> None:
    """Draw exact matches by kind, the calibration of the confidence, and times, as PNG or SVG.

    Raises ConfigurationError as `check_picture`, and OSError.
    """
    check_picture(picture)
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11, 3.4))
    _plot_exact_matches(left, rows(records, lambda record: f"{record.language}\n{record.kind}"))
    _plot_calibration(middle, calibrations(records, lambda _: "all"))
    _plot_times(right, records)
    for axes in (left, middle, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(picture, dpi=90)
    plt.close(figure)


def _plot_exact_matches(axes: Any, table: Sequence[Row]) -> None:
    groups = sorted({row.group for row in table})
    for offset, mode in ((-0.2, "model"), (0.2, "pipeline")):
        by_group = {row.group: row for row in table if row.mode == mode}
        positions = [index + offset for index, group in enumerate(groups) if group in by_group]
        mode_rows = [by_group[group] for group in groups if group in by_group]
        axes.bar(
            positions,
            [100 * row.exact for row in mode_rows],
            0.38,
            label=mode,
            color=_COLOURS[mode],
            yerr=[100 * row.exact_error for row in mode_rows],
            ecolor="0.3",
        )
    axes.set_xticks(range(len(groups)), groups, fontsize=8)
    axes.set(ylabel="filled exactly, % (± one standard error)")
    axes.legend(frameon=False)


def _plot_calibration(axes: Any, table: Sequence[Calibration]) -> None:
    axes.plot([0, 100], [0, 100], color="0.8", linewidth=1)
    for calibration in table:
        axes.scatter(
            [100 * bin_.confidence for bin_ in calibration.bins],
            [100 * bin_.right for bin_ in calibration.bins],
            [12 + 200 * bin_.count / calibration.count for bin_ in calibration.bins],
            color="C0",
            alpha=0.8,
        )
        title = f"calibration error {calibration.error:.1%} of {calibration.count}"
        axes.set_title(title, fontsize=9)
    axes.set(xlabel="confidence, %", ylabel="correct first lines, %")


def _plot_times(axes: Any, records: Sequence[Record]) -> None:
    for mode, colour in _COLOURS.items():
        timed = (record for record in records if record.mode == mode and record.timed)
        times = sorted(record.milliseconds for record in timed)
        shares = [100 * (index + 1) / len(times) for index in range(len(times))]
        axes.step(times, shares, where="post", label=mode, color=colour)
    axes.set(xlabel="time to the result, ms", ylabel="completed, %", xlim=(0, None))
    axes.legend(frameon=False)
