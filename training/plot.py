"""The curve of a run's loss, as a picture."""

from __future__ import annotations

import json
from pathlib import Path

_SMOOTH = 50


def plot_loss(log: Path, picture: Path, tokens_per_step: int) -> None:
    """Draw the loss in nats a token over the tokens seen: each step, and the mean of 50."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    seen = [row["step"] * tokens_per_step / 1e6 for row in rows]
    loss = [row["loss"] for row in rows]
    means = [
        sum(loss[max(0, i - _SMOOTH + 1) : i + 1]) / min(i + 1, _SMOOTH) for i in range(len(loss))
    ]
    figure, axes = plt.subplots(figsize=(6, 3.2))
    axes.plot(seen, loss, color="0.8", linewidth=0.7, label="each step")
    axes.plot(seen, means, color="C0", linewidth=1.5, label=f"mean of {_SMOOTH} steps")
    axes.set(xlabel="million tokens", ylabel="training loss, nats a token", ylim=(2, 7))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(picture, dpi=80)
    plt.close(figure)
