"""The recipe of the demo model: its training stages and learning-rate schedule."""

from __future__ import annotations

from dataclasses import dataclass, replace

from training.fim import FimOptions
from training.packing import SizeDistribution

ROWS_PER_STEP = 8
"""Sequences in one optimiser step."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of a run with its own data."""

    steps: int
    """Number of optimiser steps."""
    fim: FimOptions
    """Options for the holes in pieces."""
    characters_per_token: float
    """Maximum characters of a piece per token of a sequence; about 3.9 fill a sequence."""
    piece_sizes: SizeDistribution
    """Distribution of the sizes of pieces below that maximum."""
    middle_weight: float
    """Loss weight of the tokens after `<fim_middle>`; other tokens have weight 1."""
    opening_weight: float
    """Weight of the first few tokens after `<fim_middle>`."""
    seed: int
    """Seed of the pieces, holes and their order."""
    has_formats: bool = False
    """Whether notebooks and commits are included."""
    other_file_rate: float = 0.0
    """Share of pieces that follow an excerpt of another file of their project."""
    dialogue_share: float = 0.0
    """Share of tokens that are dialogues; only the assistant's messages are learned."""

    def num_tokens(self, length: int) -> int:
        """Return the number of tokens that the steps read from sequences of `length`."""
        return self.steps * ROWS_PER_STEP * length


STAGES = (
    Stage(
        1108,
        FimOptions(),
        characters_per_token=3.2,
        piece_sizes="uniform",
        middle_weight=1,
        opening_weight=1,
        seed=0,
    ),
    # After the first stage the model wrote Python but ignored the position of the hole, because few
    # labels depend on it. Short pieces with holes, and middles with more weight, teach it.
    Stage(
        1492,
        FimOptions(rate=0.9, spm_rate=0.1),
        characters_per_token=1.2,
        piece_sizes="uniform",
        middle_weight=3,
        opening_weight=3,
        seed=7,
    ),
    # A model of this size hardly learns to find, after the suffix, where the prefix ended. Pieces
    # anchored at the line do not need that: the current line continues after `<fim_middle>`.
    Stage(
        600,
        FimOptions(rate=0.95, spm_rate=0.0, rest_of_line_rate=0.7, line_rate=1.0),
        characters_per_token=1.6,
        piece_sizes="log-uniform",
        middle_weight=3,
        opening_weight=3,
        seed=11,
    ),
    # Half of each form that puts the cursor's line last, in pieces of all lengths that an editor
    # sends; with other languages, headers, notebooks and commits.
    Stage(
        2400,
        FimOptions(rate=0.7, spm_rate=0.5, rest_of_line_rate=0.55, line_rate=1.0),
        characters_per_token=2.8,
        piece_sizes="log-uniform",
        middle_weight=3,
        opening_weight=3,
        seed=23,
        has_formats=True,
        other_file_rate=0.1,
    ),
    # Dialogues at the low final learning rates, mixed with holes so that these are not forgotten.
    Stage(
        400,
        FimOptions(rate=0.9, spm_rate=0.5, rest_of_line_rate=0.6, line_rate=1.0),
        characters_per_token=2.8,
        piece_sizes="log-uniform",
        middle_weight=3,
        opening_weight=3,
        seed=29,
        dialogue_share=0.35,
    ),
    # Another phase with all earlier kinds of data, and more tests among the dialogues.
    Stage(
        1400,
        FimOptions(rate=0.8, spm_rate=0.6, rest_of_line_rate=0.55, line_rate=1.0),
        characters_per_token=2.8,
        piece_sizes="log-uniform",
        middle_weight=3,
        opening_weight=3,
        seed=31,
        has_formats=True,
        other_file_rate=0.1,
        dialogue_share=0.3,
    ),
)
"""The stages of the run: language, holes, lines, all formats, dialogues, more of all kinds."""

PHASE_STARTS = (3200, 6000)
"""Steps at which the optimisers are reset: a phase may start from weights that shipped."""

SCHEDULE = (
    (-1, 0.0),
    (99, 1.0),
    (1560, 1.0),
    (2600, 0.0),
    (2620, 0.6),
    (3200, 0.0),
    (3240, 0.6),
    (4600, 0.6),
    (6000, 0.0),
    (6030, 0.5),
    (7400, 0.0),
)
"""Factors of the learning rates by step: warm-up, hold, decay to zero; again for later stages.

After Hu et al. 2024, arXiv:2404.06395.
"""

STEPS = sum(stage.steps for stage in STAGES)


def scaled_stages(steps: int = STEPS, fim_rate: float | None = None) -> tuple[Stage, ...]:
    """Return the recipe's stages, shortened or stretched to `steps` in total.

    `fim_rate` replaces the share of pieces with a hole in each stage.
    """
    stages, end, scaled_end = [], 0, 0
    for stage in STAGES:
        rate = stage.fim.rate if fim_rate is None else fim_rate
        end += stage.steps
        scaled_start, scaled_end = scaled_end, scale_step(end, steps)
        fim = replace(stage.fim, rate=rate)
        stages.append(replace(stage, steps=scaled_end - scaled_start, fim=fim))
    return tuple(stages)


def scaled_schedule(steps: int = STEPS) -> tuple[tuple[int, float], ...]:
    """Return the learning-rate schedule for a run of `steps`."""
    return tuple((scale_step(step, steps), factor) for step, factor in SCHEDULE)


def scaled_phase_starts(steps: int = STEPS) -> tuple[int, ...]:
    """Return the steps at which the optimisers are reset in a run of `steps`."""
    return tuple(scale_step(step, steps) for step in PHASE_STARTS)


def scale_step(step: int, steps: int) -> int:
    """Return the step of a run of `steps` that corresponds to a step of the recipe."""
    return round(step * steps / STEPS) if step > 0 else step
