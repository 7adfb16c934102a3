"""The recipe of the demo model: its training stages and learning-rate schedule.

All numbers are shares of a run, which ends after a number of steps or after a time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from training.fim import FimOptions
from training.packing import SizeDistribution


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of a run with its own data."""

    end: float
    """Share of the run before which the stage ends."""
    fim: FimOptions
    """Options for the holes in pieces."""
    middle_weight: float
    """Loss weight of the tokens after `<fim_middle>`; other tokens have weight 1."""
    opening_weight: float
    """Weight of the first few tokens after `<fim_middle>`."""
    seed: int
    """Seed of the pieces, holes and their order."""
    characters_per_token: float = 3.2
    """Maximum characters of a piece per token of a sequence; more would not always fit."""
    piece_sizes: SizeDistribution = "log-uniform"
    """Distribution of the sizes of pieces below that maximum."""
    has_formats: bool = True
    """Whether notebooks and commits are included."""
    other_file_rate: float = 0.1
    """Share of pieces that follow an excerpt of another file of their project."""
    dialogue_share: float = 0.0
    """Share of characters that are dialogues; only the assistant's messages are learned."""


# Of the pieces with a hole, 45 % are in SPM order, 40 % in PSM order anchored at the line, and 15 %
# in PSM order anchored at the cursor, which is StarCoder's own form.
_SPM_RATE, _LINE_RATE = 0.45, 0.727

STAGES = (
    Stage(
        0.65,
        FimOptions(rate=0.75, spm_rate=_SPM_RATE, rest_of_line_rate=0.5, line_rate=_LINE_RATE),
        middle_weight=2,
        opening_weight=2,
        seed=1,
    ),
    # The rarest and most useful kinds of data come while the learning rate falls.
    Stage(
        1.0,
        FimOptions(rate=0.8, spm_rate=_SPM_RATE, rest_of_line_rate=0.6, line_rate=_LINE_RATE),
        middle_weight=3,
        opening_weight=3,
        seed=2,
        dialogue_share=0.14,
    ),
)
"""The stages of the run: everything but dialogues, then everything."""

SCHEDULE = ((0.0, 0.0), (0.02, 1.0), (0.6, 1.0), (1.0, 0.0))
"""Factors of the learning rates by share of the run: warm-up, hold, decay to zero.

After Hu et al. 2024, arXiv:2404.06395.
"""

STEPS = 8000
"""Steps of a run whose length is not given: 65 million tokens at 8 sequences of 1,024 per step."""


def stages_with(fim_rate: float | None = None) -> tuple[Stage, ...]:
    """Return the recipe's stages; `fim_rate` replaces the share of pieces with a hole."""
    if fim_rate is None:
        return STAGES
    return tuple(replace(stage, fim=replace(stage.fim, rate=fim_rate)) for stage in STAGES)
