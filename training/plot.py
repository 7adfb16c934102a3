"""Plot the loss of a training run."""

from __future__ import annotations

import json
from pathlib import Path

_MEAN_STEPS = 50


def plot_loss(log: Path, picture: Path, tokens_per_step: int) -> None:
    """Plot the loss in nats per token over the tokens read: each step, and the mean of 50 steps."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    million_tokens = [row["step"] * tokens_per_step / 1e6 for row in rows]
    loss = [row["loss"] for row in rows]
    means = [
        sum(loss[max(0, i - _MEAN_STEPS + 1) : i + 1]) / min(i + 1, _MEAN_STEPS)
        for i in range(len(loss))
    ]
    figure, axes = plt.subplots(figsize=(6, 3.2))
    axes.plot(million_tokens, loss, color="0.8", linewidth=0.7, label="each step")
    axes.plot(
        million_tokens, means, color="C0", linewidth=1.5, label=f"mean of {_MEAN_STEPS} steps"
    )
    axes.set(xlabel="million tokens", ylabel="training loss, nats per token", ylim=(1, 7))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(picture, dpi=80)
    plt.close(figure)
