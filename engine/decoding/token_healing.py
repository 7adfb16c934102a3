"""Constrained decoding of a forced prefix, for token healing.

A prompt that ends in the middle of a word ends in tokens that the model rarely saw there. So the
caller leaves the half-typed word out of the prompt and asks for output that starts with it. Only
tokens that agree with this forced prefix are allowed until it is complete; after that all are.

Masking token by token is greedy and picks `p` over `print` for the forced prefix `pri`: `p` starts
every word with p, but after it only `ri` is left, which the model never writes that way. So we
search whole tokenizations, best first (Dijkstra 1959, with negative log-probabilities as
distances): a tokenization can only become less likely as it grows. Each visit is a step of the
model. Tokenizations that no text has are not visited, because no model has been trained on them.

Only the last tokens of a long forced prefix are searched. The tokens before them are those of the
tokenizer: they are computed like a prompt, in prefill chunks.
"""

from __future__ import annotations

import heapq
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.decoding.logits_reader import TokenChoices
from engine.decoding.mixture import Mixer
from engine.decoding.sampler import Sampler
from engine.decoding.sequence import Step
from engine.decoding.vocabulary import Vocabulary

_MAX_VISITS = 12
"""Maximum number of tokenizations that are visited. The tokenizer's own is always among them."""

_MAX_SEARCHED = 16
"""Maximum number of the tokenizer's own tokens that are searched. A half-typed word has fewer."""

_SAMPLING_SLACK = 3.0
"""Maximum distance of a visited tokenization from the best one, in nats, when sampling.

A tokenization at this distance has 5 % of the best one's probability.
"""


@dataclass(frozen=True, slots=True)
class ForcedPrefix:
    """The chosen tokenization of a forced prefix."""

    ids: tuple[int, ...]
    """Token ids whose text starts with the forced prefix."""
    logits: Tensor
    """Logits (len(ids), vocab) of each id, given the forced prefix and the ids before it."""


@dataclass(frozen=True, slots=True)
class _Path:
    """Token ids that write a part of the forced prefix."""

    ids: tuple[int, ...]
    rest: bytes
    """The part of the forced prefix that is not written yet, at least one byte."""
    score: float
    """Log-probability of the ids together."""


@dataclass(frozen=True, slots=True)
class _Completions:
    """All ways to complete the forced prefix after the same ids."""

    ids: tuple[int, ...]
    last_ids: list[int]
    """Ids each of which completes the forced prefix."""
    scores: Tensor
    """Log-probability of `ids` with each of `last_ids`."""


def split_usual_ids(usual_ids: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the ids of a forced prefix that are not searched, and those that are.

    `usual_ids` are the tokenizer's own tokenization. At least one id is searched if there is one.
    """
    num_fixed = max(0, len(usual_ids) - _MAX_SEARCHED)
    return usual_ids[:num_fixed], usual_ids[num_fixed:]


def search_forced_prefix(
    logits: Tensor,
    prefix: bytes,
    usual_ids: Sequence[int],
    vocabulary: Vocabulary,
    sampler: Sampler,
    max_new_tokens: int,
    mixer: Mixer | None = None,
) -> Generator[Step, TokenChoices, ForcedPrefix]:
    """Return at most `max_new_tokens` ids whose bytes agree with `prefix`, and may go beyond it.

    `logits` (1, vocab) follow the prompt. `usual_ids` are the tokenizer's own tokenization of
    `prefix`. When greedy, the result is the likeliest of all tokenizations, within `_MAX_VISITS`.
    When sampling, tokenizations are drawn by their probability. `mixer` mixes the project's text
    into the distributions. Yields steps of a few ids, all of them uncommitted. So
    other requests run between them, and a cancelled request ends there.
    """
    search = _Search(vocabulary, sampler, max_new_tokens, mixer)
    search.visit(_Path((), prefix, 0.0), logits)
    slack = 0.0 if sampler.is_greedy else _SAMPLING_SLACK
    if search.next_path(slack) and len(usual_ids) > 1:
        choices = yield Step(tuple(usual_ids[:-1]), 0, len(usual_ids) - 1)
        search.visit_prefixes(usual_ids[:-1], choices.logits)
    for _ in range(_MAX_VISITS):
        path = search.next_path(slack)
        if path is None:
            break
        choices = yield Step(path.ids, 0)
        search.visit(path, choices.logits)
    return search.choose()


class _Search:
    """The open and the complete tokenizations of a best-first search."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        sampler: Sampler,
        max_new_tokens: int,
        mixer: Mixer | None,
    ) -> None:
        self._vocabulary, self._sampler, self._mixer = vocabulary, sampler, mixer
        self._max_new_tokens = max_new_tokens
        self._open: list[tuple[float, tuple[int, ...], _Path]] = []
        """A heap of open paths, the likeliest first."""
        self._complete: list[_Completions] = []
        self._best_score = -torch.inf
        """Log-probability of the likeliest complete tokenization."""
        self._visited: set[tuple[int, ...]] = set()

    def next_path(self, slack: float) -> _Path | None:
        """Return the likeliest open path that may come within `slack` nats of the best."""
        while self._open and -self._open[0][0] > self._best_score - slack:
            path = self._open[0][2]
            is_new = path.ids not in self._visited
            if is_new and (not path.ids or self._vocabulary.can_continue(path.ids[-1], path.rest)):
                return path
            heapq.heappop(self._open)
        return None

    def visit(self, path: _Path, logits: Tensor) -> None:
        """Extend a path by all tokens that agree with the rest, given the logits (1, vocab)."""
        self._visited.add(path.ids)
        is_last = len(path.ids) + 1 >= self._max_new_tokens
        completing: list[int] = []
        extending: list[int] = []
        for id_ in self._vocabulary.tokens_compatible_with(path.rest):
            completes = is_last or len(self._vocabulary.bytes_of(id_)) >= len(path.rest)
            (completing if completes else extending).append(id_)
        candidates = torch.tensor(completing + extending).to(logits.device, non_blocking=True)
        if self._mixer is not None:
            # Only for the first token is the model's share of other tokens the same for all paths.
            if path.ids:
                self._mixer.mix_after(logits, path.ids)
            else:
                logits = self._mixer.mix_forced(logits, path.rest, candidates)
        log_probs = self._sampler.penalized(logits, draft_tokens=()).log_softmax(-1)[0]
        # One copy to the host for everything that is read there.
        scores = path.score + log_probs[candidates].cpu()
        if completing:
            completing_scores = scores[: len(completing)]
            self._best_score = max(self._best_score, float(completing_scores.max()))
            self._complete.append(_Completions(path.ids, completing, completing_scores))
        for id_, score in zip(extending, scores[len(completing) :].tolist(), strict=True):
            rest = path.rest[len(self._vocabulary.bytes_of(id_)) :]
            longer = _Path((*path.ids, id_), rest, score)
            heapq.heappush(self._open, (-score, longer.ids, longer))

    def visit_prefixes(self, ids: Sequence[int], logits: Tensor) -> None:
        """Visit each open path that is a prefix of `ids`; `logits` has a row after each of them."""
        for size, row in enumerate(torch.split(logits, 1), start=1):
            paths = [path for _, open_ids, path in self._open if open_ids == tuple(ids[:size])]
            if paths:
                self.visit(paths[0], row)

    def choose(self) -> ForcedPrefix:
        """Return one complete tokenization, chosen as the request samples."""
        scores = torch.cat([completions.scores for completions in self._complete])
        tokenizations = [
            (*completions.ids, last_id)
            for completions in self._complete
            for last_id in completions.last_ids
        ]
        ids = tokenizations[int(self._sampler.draw(scores[None], 0))]
        logits = [self._logits_after(ids[:size]) for size in range(len(ids))]
        return ForcedPrefix(ids, torch.stack(logits))

    def _logits_after(self, ids: tuple[int, ...]) -> Tensor:
        """Return the logits of the next id after `ids`, among the complete tokenizations."""
        size = len(ids)
        logits = torch.full((self._vocabulary.size,), -torch.inf)
        for completions in self._complete:
            if completions.ids == ids:
                last_ids = completions.last_ids
                logits[last_ids] = logits[last_ids].logaddexp(completions.scores)
            elif completions.ids[:size] == ids:
                next_id = completions.ids[size]
                logits[next_id] = logits[next_id].logaddexp(completions.scores.logsumexp(0))
        return logits
