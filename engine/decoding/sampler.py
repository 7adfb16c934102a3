"""From logits to the next ids of one answer, where it does not simply take the likeliest.

All of it happens where the logits are. Of randomness only one uniform number an id is needed, drawn
on the CPU: by the inverse of the distribution function it names an id.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor

from engine.api import Sampling

_USUAL_NUCLEUS = 512
"""So many likeliest ids nearly always reach `top_p`; finding them costs a tenth of sorting all."""


class Sampler:
    """Chooses ids for one answer."""

    def __init__(self, sampling: Sampling, prompt: Sequence[int]) -> None:
        self._sampling = sampling
        self._random = random.Random(sampling.seed)
        self._uniform: list[float] = []
        """By the place of an id in the answer, so that drafts change nothing for a seed."""
        self._unseen = list(prompt) if sampling.repetition_penalty != 1.0 else []
        """Ids of prompt and answer that are not in `_seen` yet."""
        self._seen: Tensor | None = None
        """Whether an id is in prompt or answer, (vocab,)."""

    @property
    def greedy(self) -> bool:
        """Whether the likeliest is always taken."""
        return self._sampling.temperature <= 0.0

    @property
    def plain(self) -> bool:
        """Whether that is all there is to do."""
        return self.greedy and self._sampling.repetition_penalty == 1.0

    def add(self, id_: int) -> None:
        """Take an id of the answer."""
        if self._sampling.repetition_penalty != 1.0:
            self._unseen.append(id_)

    def choose(self, logits: Tensor, at: int, guess: Sequence[int]) -> Tensor:
        """Return the next ids (n,) for `logits` (n, vocab).

        The first is the answer's id number `at`, each further one that after one more of `guess`.
        """
        return self.draw(self.penalized(logits, guess), at)

    def penalized(self, logits: Tensor, guess: Sequence[int] = ()) -> Tensor:
        """Return `logits` (n, vocab) with ids that occurred less likely.

        Each row after the first has one more of `guess` before it. Keskar et al. 2019, CTRL,
        arXiv:1909.05858.
        """
        penalty = self._sampling.repetition_penalty
        if penalty == 1.0:
            return logits
        seen = self._occurred(logits)[None]
        if guess:
            seen = seen.repeat(logits.shape[0], 1)
            for row, id_ in enumerate(guess, start=1):
                seen[row:, id_] = True
        return torch.where(
            seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits
        )

    def draw(self, logits: Tensor, at: int) -> Tensor:
        """Return an index into each row of `logits` (n, any), by temperature and truncation.

        `at` is as in `choose`.
        """
        if self.greedy:
            return logits.argmax(-1)
        weights, ids = candidates(logits / self._sampling.temperature, self._sampling)
        # Not waited for: on a GPU nothing has been computed yet.
        exact = exactest(logits.device)
        uniform = self._uniform_from(at, len(logits), exact).to(logits.device, non_blocking=True)
        drawn = inverse(weights, uniform)
        return drawn if ids is None else ids.gather(-1, drawn[:, None])[:, 0]

    def _uniform_from(self, at: int, count: int, dtype: torch.dtype) -> Tensor:
        while len(self._uniform) < at + count:
            self._uniform.append(self._random.random())
        return torch.tensor(self._uniform[at : at + count], dtype=dtype)

    def _occurred(self, logits: Tensor) -> Tensor:
        if self._seen is None:
            self._seen = torch.zeros(logits.shape[-1], dtype=torch.bool, device=logits.device)
        if len(self._unseen) > 1:
            places = torch.tensor(self._unseen)
            self._seen[places.to(logits.device, non_blocking=True)] = True
        elif self._unseen:
            self._seen[self._unseen[0]] = True
        self._unseen = []
        return self._seen


def candidates(logits: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor | None]:
    """Return weights (n, m) to draw by, and the ids (n, m) that they are of; None for all ids.

    `logits` (n, vocab) have the temperature. The likeliest id always stays (nucleus sampling,
    Holtzman et al. 2020, arXiv:1904.09751); of equally likely ids at top-k's edge any may.
    """
    top_p = sampling.top_p
    ids: Tensor | None = None
    if 0 < sampling.top_k < logits.shape[-1]:
        logits, ids = logits.topk(sampling.top_k)
    if top_p >= 1.0:
        return logits.softmax(-1), ids
    weights = logits.softmax(-1)
    if ids is None:
        weights, ids = _likeliest(weights, top_p)
    before = weights.cumsum(-1) - weights
    before[:, 0] = 0.0
    return weights.masked_fill(before >= top_p, 0.0), ids


def _likeliest(weights: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Return weights by size, with their places, as many as reach a share or more."""
    if weights.device.type == "cpu" and weights.shape[-1] > _USUAL_NUCLEUS:
        found, places = weights.topk(_USUAL_NUCLEUS)
        if float(found.sum(-1).min()) >= share:
            return found, places
    # On a GPU to look would be to wait, which takes longer than sorting.
    ordered, places = weights.sort(dim=-1, descending=True)
    return ordered, places


def inverse(weights: Tensor, uniform: Tensor) -> Tensor:
    """Return the place in each row of `weights` (n, m) that a number of [0, 1) (n,) falls on.

    A place is as likely as its share of its row; one of weight 0 is never returned.
    """
    sums = weights.cumsum(-1, dtype=uniform.dtype)
    goal = uniform[:, None] * sums[:, -1:]
    return torch.searchsorted(sums, goal, right=True)[:, 0].clamp(max=weights.shape[-1] - 1)


def exactest(device: torch.device) -> torch.dtype:
    """Return what to add up many small shares in: Apple's GPUs have nothing wider than float32."""
    return torch.float32 if device.type == "mps" else torch.float64
