"""Mixes what followed in the project's text into the model's distribution.

The mixture is `(1 - w) * model + w * memory`, as in kNN-LM (Khandelwal et al. 2020,
arXiv:1911.00172). `memory` is the distribution of the tokens that followed the text so far, where
longer matches count more. The weight `w` grows with the length of the match, the number of places,
their agreement, and the entropy of the model's distribution.

Since `w / (1 - w)` is the exponential of the weight's logit, the mixture needs no pass over the
vocabulary besides the entropy: the logits of the few tokens that the memory names grow, and the
others stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engine.decoding.memory_text import Continuation, MemoryText

_PLACE_WEIGHTS = (0.0, 0.61, 1.17, 1.88, 2.62, 3.37, 3.91, 4.82, 6.03, 7.28)
"""Logarithm of the weight of a place, by size class of its match.

These and the next constants maximise the likelihood of lines of seven other projects, see
`benchmarks.project_memory.fit`.
"""
_MATCH_LOGITS = (-4.24, -4.0, -4.08, -3.84, -3.91, -3.31, -3.08, -2.33, -1.82, -1.27)
"""Logit of the mixture's weight by size class of the longest match."""
_AGREEMENT, _ENTROPY, _PLACES = 2.55, 0.12, 0.29
"""What the share of the likeliest continuation, the model's entropy in nats, and the logarithm of
the number of places add to this logit."""

_MIN_LOGIT = 60.0
"""Distance from the largest logit below which a token does not count for the entropy."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the memory says about the next token."""

    ids: tuple[int, ...]
    log_shares: tuple[float, ...]
    """Logarithm of the memory's probability of each of `ids`."""
    logit: float
    """Logit of the mixture's weight for a model that is certain; the entropy adds to it."""


def evidence_of(continuations: Sequence[Continuation]) -> Evidence | None:
    """Return the distribution of the continuations and their weight; None if there are none."""
    if not continuations:
        return None
    scores = [
        sum(math.exp(_PLACE_WEIGHTS[size]) * math.log1p(count) for size, count in each.counts)
        for each in continuations
    ]
    total = sum(scores)
    longest = max(size for each in continuations for size, _ in each.counts)
    num_places = sum(count for each in continuations for _, count in each.counts)
    logit = _MATCH_LOGITS[longest] + _AGREEMENT * max(scores) / total
    return Evidence(
        tuple(each.id for each in continuations),
        tuple(math.log(score / total) for score in scores),
        logit + _PLACES * math.log1p(num_places),
    )


class Mixer:
    """Mixes the passages of one request into its logits."""

    def __init__(self, text: MemoryText, line_end_ids: Sequence[int] = ()) -> None:
        """`line_end_ids` are the tokens with a line feed, if the output ends with its line.

        The memory's line end then counts for the one of them that the model prefers.
        """
        self._text, self._line_end_ids = text, line_end_ids
        self._line_ends: Tensor | None = None
        """`line_end_ids` on the device of the logits."""

    def mix(
        self, logits: Tensor, draft_tokens: Sequence[int] = (), *, is_greedy: bool = False
    ) -> None:
        """Change `logits` (n, vocab) in place to those of the mixture.

        Each row after the first follows one more of `draft_tokens`. If the likeliest tokens are
        chosen, rows after the first wrong draft token are not needed and stay as they are. A GPU
        would have to be waited for to know them.
        """
        for row in range(len(logits)):
            self._mix_row(logits[row], evidence_of(self._text.continuations(draft_tokens[:row])))
            is_checked = is_greedy and logits.is_cpu and row < len(draft_tokens)
            if is_checked and int(logits[row].numpy().argmax()) != draft_tokens[row]:
                break

    def mix_after(self, logits: Tensor, ids: Sequence[int]) -> None:
        """Change `logits` (1, vocab), which follow `ids` after the text so far, in place."""
        self._mix_row(logits[0], evidence_of(self._text.continuations(ids)))

    def mix_forced(self, logits: Tensor, forced_prefix: bytes, allowed_ids: Tensor) -> Tensor:
        """Return logits (1, vocab) of the mixture for a token that agrees with `forced_prefix`.

        Only `allowed_ids` have a probability.
        """
        masked = torch.full_like(logits, -torch.inf)
        masked[:, allowed_ids] = logits[:, allowed_ids]
        self._mix_row(masked[0], evidence_of(self._text.continuations((), forced_prefix)))
        return masked

    def _mix_row(self, logits: Tensor, evidence: Evidence | None) -> None:
        if evidence is None:
            return
        ids = torch.tensor(evidence.ids).to(logits.device, non_blocking=True)
        if self._text.line_end in evidence.ids:
            if self._line_ends is None:
                self._line_ends = torch.tensor(self._line_end_ids, device=logits.device)
            likeliest = self._line_ends[logits[self._line_ends].argmax()]
            ids = torch.where(ids == self._text.line_end, likeliest, ids)
        log_shares = torch.tensor(evidence.log_shares).to(logits.device, non_blocking=True)
        compute = log_sum_and_entropy if logits.is_cpu else log_sum_and_entropy_on_device
        log_sum, entropy = compute(logits)
        added = log_sum + _ENTROPY * entropy + evidence.logit
        logits[ids] = torch.logaddexp(logits[ids], added + log_shares)


def log_sum_and_entropy(logits: Tensor) -> tuple[float, float]:
    """Return the logarithm of the sum of the exponentials, and the entropy in nats, of CPU logits.

    numpy's calls take a third of the time of torch's.
    """
    row = logits.numpy()
    largest = float(row.max())
    distances = np.maximum(row - largest, -_MIN_LOGIT)
    weights = np.exp(distances)
    total = float(weights.sum())
    log_total = math.log(total)
    return largest + log_total, log_total - float(weights @ distances) / total


def log_sum_and_entropy_on_device(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return the same two numbers on the device of the logits, without waiting for it."""
    largest = logits.max()
    distances = (logits - largest).clamp_(min=-_MIN_LOGIT)
    weights = distances.exp()
    total = weights.sum()
    return largest + total.log(), total.log() - weights.dot(distances) / total
