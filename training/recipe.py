"""The recipe of the demo model: what is shown when, and what counts."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from training.fim import FimOptions
from training.packing import Sizes

ROWS_PER_STEP = 8
"""Sequences in one optimiser step."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of a run with data of its own."""

    steps: int
    """Optimiser steps."""
    fim: FimOptions
    """How its pieces get holes."""
    characters_per_token: float
    """A piece has at most this many characters for each token of a sequence: about 3.9 fill one."""
    sizes: Sizes
    """How the sizes of pieces spread below that."""
    middle_weight: float
    """What a token after `<fim_middle>` counts in the loss; any other counts 1."""
    opening_weight: float
    """What the first few of those count."""
    seed: int
    """Of its pieces, holes and order."""
    formats: bool = False
    """Whether notebooks and commits are among its documents."""
    other_file_rate: float = 0.0
    """Share of pieces that follow an excerpt of another file of their project."""
    dialogue_share: float = 0.0
    """Share of tokens that are dialogues; what is not the assistant's is not learned."""

    def describe(self) -> dict[str, Any]:
        """Return the stage as JSON holds it."""
        return asdict(self)

    def tokens(self, length: int) -> int:
        """Return how many tokens its steps take from rows of `length`."""
        return self.steps * ROWS_PER_STEP * length


STAGES = (
    Stage(
        1108,
        FimOptions(),
        characters_per_token=3.2,
        sizes="uniform",
        middle_weight=1,
        opening_weight=1,
        seed=0,
    ),
    # After the first stage the model wrote Python but took no notice of where the hole was: few of
    # its labels depend on that. Short pieces with holes, and middles that count more, teach it.
    Stage(
        1492,
        FimOptions(rate=0.9, spm_rate=0.1),
        characters_per_token=1.2,
        sizes="uniform",
        middle_weight=3,
        opening_weight=3,
        seed=7,
    ),
    # A model this small hardly learns to find, behind the suffix, where the prefix broke off.
    # Anchored at the line it need not: the line that is being written goes on after `<fim_middle>`.
    Stage(
        600,
        FimOptions(rate=0.95, spm_rate=0.0, rest_of_line_rate=0.7, line_rate=1.0),
        characters_per_token=1.6,
        sizes="log-uniform",
        middle_weight=3,
        opening_weight=3,
        seed=11,
    ),
    # Both forms that put the cursor's line last, by halves, in pieces of all lengths that an
    # editor shows; other languages, headers, notebooks and commits among them.
    Stage(
        2400,
        FimOptions(rate=0.7, spm_rate=0.5, rest_of_line_rate=0.55, line_rate=1.0),
        characters_per_token=2.8,
        sizes="log-uniform",
        middle_weight=3,
        opening_weight=3,
        seed=23,
        formats=True,
        other_file_rate=0.1,
    ),
    # Dialogues at the low rates of the end, with holes beside them so that those are not forgotten.
    Stage(
        400,
        FimOptions(rate=0.9, spm_rate=0.5, rest_of_line_rate=0.6, line_rate=1.0),
        characters_per_token=2.8,
        sizes="log-uniform",
        middle_weight=3,
        opening_weight=3,
        seed=29,
        dialogue_share=0.35,
    ),
    # A leg more of all that came before, with more tests among the dialogues.
    Stage(
        1400,
        FimOptions(rate=0.8, spm_rate=0.6, rest_of_line_rate=0.55, line_rate=1.0),
        characters_per_token=2.8,
        sizes="log-uniform",
        middle_weight=3,
        opening_weight=3,
        seed=31,
        formats=True,
        other_file_rate=0.1,
        dialogue_share=0.3,
    ),
)
"""Language first, then the hole, then what else a StarCoder knows."""

LEGS = (3200, 6000)
"""Steps at which the optimiser begins anew: a leg may start from the weights that shipped."""

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
"""Warm up, hold, fall to zero (Hu et al. 2024, arXiv:2404.06395); once more for later stages."""

STEPS = sum(stage.steps for stage in STAGES)


def stages(steps: int = STEPS, fim_rate: float | None = None) -> tuple[Stage, ...]:
    """Return the recipe's stages, shortened or stretched to `steps` in all.

    `fim_rate` replaces the share of pieces with a hole in each of them.
    """
    made, end, scaled_end = [], 0, 0
    for stage in STAGES:
        rate = stage.fim.rate if fim_rate is None else fim_rate
        end += stage.steps
        before, scaled_end = scaled_end, scaled(end, steps)
        fim = replace(stage.fim, rate=rate)
        made.append(replace(stage, steps=scaled_end - before, fim=fim))
    return tuple(made)


def schedule(steps: int = STEPS) -> tuple[tuple[int, float], ...]:
    """Return the learning rate's schedule for a run of `steps`."""
    return tuple((scaled(step, steps), factor) for step, factor in SCHEDULE)


def legs(steps: int = STEPS) -> tuple[int, ...]:
    """Return the steps of a run of `steps` at which the optimiser begins anew."""
    return tuple(scaled(step, steps) for step in LEGS)


def scaled(step: int, steps: int) -> int:
    """Return where a step of the recipe lies in a run of `steps`."""
    return round(step * steps / STEPS) if step > 0 else step
