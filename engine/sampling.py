"""From logits to the next id, and to log-probabilities."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from engine.api import Sampling, TokenLogprob


class Sampler:
    """Chooses ids for one answer."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._generator = torch.Generator()
        if sampling.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(sampling.seed)

    @property
    def greedy(self) -> bool:
        """Whether the likeliest is always taken."""
        return self._sampling.temperature <= 0.0

    def penalized(self, logits: Tensor, before: Sequence[int]) -> Tensor:
        """Return the logits with the repetition penalty, if there is one and ids before."""
        penalty = self._sampling.repetition_penalty
        return penalize(logits, before, penalty) if penalty != 1.0 and before else logits

    def choose(self, logits: Tensor, before: Sequence[int]) -> int:
        """Return the next id; `logits` is (vocab,), `before` the prompt and answer so far."""
        logits = self.penalized(logits, before)
        if self.greedy:
            return int(logits.argmax())
        # Drawn on the CPU, so that a seed gives the same answer on every device.
        weights = truncate(logits.cpu() / self._sampling.temperature, self._sampling).softmax(-1)
        return int(torch.multinomial(weights, 1, generator=self._generator))


def penalize(logits: Tensor, before: Sequence[int], penalty: float) -> Tensor:
    """Make ids that occurred less likely (Keskar et al. 2019, CTRL, arXiv:1909.05858)."""
    seen = torch.tensor(sorted(set(before)), device=logits.device)
    scores = logits[seen]
    changed = logits.clone()
    changed[seen] = torch.where(scores > 0, scores / penalty, scores * penalty)
    return changed


def truncate(logits: Tensor, sampling: Sampling) -> Tensor:
    """Set all but the top-k ids and the top-p nucleus to minus infinity.

    The likeliest id always stays (Holtzman et al. 2020, arXiv:1904.09751).
    """
    if 0 < sampling.top_k < logits.shape[-1]:
        least = logits.topk(sampling.top_k).values[-1]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if sampling.top_p < 1.0:
        ordered, order = logits.sort(descending=True)
        probabilities = ordered.softmax(-1)
        beyond = probabilities.cumsum(-1) - probabilities >= sampling.top_p
        beyond[0] = False
        logits = logits.masked_fill(beyond.scatter(-1, order, beyond), -torch.inf)
    return logits


def logprob(logits: Tensor, chosen: int, top: int) -> TokenLogprob:
    """Return the natural-log probability of `chosen` and of the `top` likeliest ids."""
    scores = logits.float().log_softmax(-1)
    best = scores.topk(min(top, scores.shape[-1])) if top > 0 else None
    alternatives = (
        () if best is None else zip(best.indices.tolist(), best.values.tolist(), strict=True)
    )
    return TokenLogprob(chosen, float(scores[chosen]), tuple(alternatives))
