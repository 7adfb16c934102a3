"""Chooses the next token ids of one request: repetition penalty, truncation, sampling.

All of it runs where the logits are. The only random input is one uniform number per token, drawn on
the CPU: the inverse of the cumulative distribution maps it to a token.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor

from engine.api import Sampling

_MIN_TEMPERATURE = 1e-5
"""Temperature below which sampling is greedy, as in vLLM: logits divided by less may overflow."""

_NUCLEUS_SIZE = 512
"""Number of likeliest tokens that nearly always reach `top_p`. Finding them costs a tenth of
sorting the whole vocabulary."""


class Sampler:
    """Chooses the token ids of one request."""

    def __init__(self, sampling: Sampling, prompt: Sequence[int]) -> None:
        self._sampling = sampling
        self._random = random.Random(sampling.seed)
        self._uniform: list[float] = []
        """Uniform numbers by position in the output, so that draft tokens do not change what a
        seed produces."""
        self._pending = list(prompt) if sampling.repetition_penalty != 1.0 else []
        """Ids of prompt and output that are not in `_has_occurred` yet."""
        self._has_occurred: Tensor | None = None
        """Whether each id of the vocabulary is in the prompt or the output: (vocab,)."""

    @property
    def is_greedy(self) -> bool:
        """Whether the likeliest token is always chosen."""
        return self._sampling.temperature < _MIN_TEMPERATURE

    @property
    def needs_no_processing(self) -> bool:
        """Whether argmax of the raw logits is enough: greedy and without repetition penalty."""
        return self.is_greedy and self._sampling.repetition_penalty == 1.0

    def add(self, id_: int) -> None:
        """Record a token of the output."""
        if self._sampling.repetition_penalty != 1.0:
            self._pending.append(id_)

    def choose(self, logits: Tensor, position: int, draft_tokens: Sequence[int]) -> Tensor:
        """Return the next ids (n,) for `logits` (n, vocab).

        The first row chooses the token at `position` in the output. Each further row follows one
        more of `draft_tokens`.
        """
        return self.draw(self.penalized(logits, draft_tokens), position)

    def penalized(self, logits: Tensor, draft_tokens: Sequence[int] = ()) -> Tensor:
        """Return `logits` (n, vocab) after the repetition penalty.

        Each row after the first follows one more of `draft_tokens`. Keskar et al. 2019, CTRL,
        arXiv:1909.05858.
        """
        penalty = self._sampling.repetition_penalty
        if penalty == 1.0:
            return logits
        occurred = self._update_occurred(logits)[None]
        if draft_tokens:
            occurred = occurred.repeat(logits.shape[0], 1)
            for row, id_ in enumerate(draft_tokens, start=1):
                occurred[row:, id_] = True
        lowered = torch.where(logits > 0, logits / penalty, logits * penalty)
        return torch.where(occurred, lowered, logits)

    def draw(self, logits: Tensor, position: int) -> Tensor:
        """Return an index into each row of `logits` (n, any), by temperature and truncation.

        `position` is the position in the output of the first row's token.
        """
        if self.is_greedy:
            return logits.argmax(-1)
        weights, ids = truncated_weights(logits / self._sampling.temperature, self._sampling)
        dtype = sum_dtype(logits.device)
        # The copy does not block: a GPU has not computed the logits yet.
        uniform = self._uniform_from(position, len(logits), dtype)
        drawn = inverse_cdf(weights, uniform.to(logits.device, non_blocking=True))
        return drawn if ids is None else ids.gather(-1, drawn[:, None])[:, 0]

    def _uniform_from(self, position: int, count: int, dtype: torch.dtype) -> Tensor:
        while len(self._uniform) < position + count:
            self._uniform.append(self._random.random())
        return torch.tensor(self._uniform[position : position + count], dtype=dtype)

    def _update_occurred(self, logits: Tensor) -> Tensor:
        if self._has_occurred is None:
            size = logits.shape[-1]
            self._has_occurred = torch.zeros(size, dtype=torch.bool, device=logits.device)
        if len(self._pending) > 1:
            ids = torch.tensor(self._pending)
            self._has_occurred[ids.to(logits.device, non_blocking=True)] = True
        elif self._pending:
            self._has_occurred[self._pending[0]] = True
        self._pending = []
        return self._has_occurred


def truncated_weights(logits: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor | None]:
    """Return weights (n, m) to draw by, and their ids (n, m); None instead of ids for all ids.

    `logits` (n, vocab) are already divided by the temperature. The likeliest id always stays
    (nucleus sampling, Holtzman et al. 2020, arXiv:1904.09751). Of equally likely ids at the edge of
    top-k any may stay.
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
    sum_before = weights.cumsum(-1) - weights
    sum_before[:, 0] = 0.0
    return weights.masked_fill(sum_before >= top_p, 0.0), ids


def _likeliest(weights: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Return the largest weights in order, with their ids, that together reach `share` or more."""
    if weights.device.type == "cpu" and weights.shape[-1] > _NUCLEUS_SIZE:
        largest, ids = weights.topk(_NUCLEUS_SIZE)
        if float(largest.sum(-1).min()) >= share:
            return largest, ids
    # On a GPU, checking the sum would wait for the device, which takes longer than sorting.
    ordered, ids = weights.sort(dim=-1, descending=True)
    return ordered, ids


def inverse_cdf(weights: Tensor, uniform: Tensor) -> Tensor:
    """Return the index in each row of `weights` (n, m) at which `uniform` (n,) in [0, 1) falls.

    An index is drawn with the probability of its weight's share of the row. An index with weight 0
    is never returned.
    """
    sums = weights.cumsum(-1, dtype=uniform.dtype)
    target = uniform[:, None] * sums[:, -1:]
    return torch.searchsorted(sums, target, right=True)[:, 0].clamp(max=weights.shape[-1] - 1)


def sum_dtype(device: torch.device) -> torch.dtype:
    """Return the dtype in which many small weights are added up.

    Apple's GPUs have nothing wider than float32.
    """
    return torch.float32 if device.type == "mps" else torch.float64
