"""The recipe of the demo model: what is shown when, and what counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from training.fim import FimOptions


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of a run with data of its own."""

    steps: int
    """Optimiser steps."""
    fim: FimOptions
    """How its pieces get holes."""
    characters_per_token: float
    """A piece has at most this many characters for each token of a sequence: about 3.9 fill one."""
    middle_weight: float
    """What a token after `<fim_middle>` counts in the loss; any other counts 1."""
    seed: int
    """Of its pieces, holes and order."""

    def describe(self) -> dict[str, Any]:
        """Return the stage as JSON holds it."""
        return asdict(self)


STAGES = (
    Stage(1108, FimOptions(), characters_per_token=3.2, middle_weight=1.0, seed=0),
    # After the first stage the model wrote Python but took no notice of where the hole was: few of
    # its labels depend on that. Short pieces with holes, and middles that count more, teach it.
    Stage(
        1492,
        FimOptions(rate=0.9, spm_rate=0.1),
        characters_per_token=1.2,
        middle_weight=3.0,
        seed=7,
    ),
)
"""Language first, then the hole."""


def stages(steps: int | None = None, fim_rate: float | None = None) -> tuple[Stage, ...]:
    """Return the recipe's stages, shortened or stretched to `steps` in all.

    `fim_rate` replaces the share of pieces with a hole in each of them.
    """
    chosen: Sequence[Stage] = STAGES
    if fim_rate is not None:
        chosen = [replace(stage, fim=replace(stage.fim, rate=fim_rate)) for stage in chosen]
    if steps is None:
        return tuple(chosen)
    whole = sum(stage.steps for stage in chosen)
    ends = [0]
    for stage in chosen:
        ends.append(ends[-1] + stage.steps)
    scaled = [round(end * steps / whole) for end in ends]
    return tuple(replace(stage, steps=scaled[i + 1] - scaled[i]) for i, stage in enumerate(chosen))
