"""The likeliest way to begin an answer with a given text (token healing; see `engine.healing`).

Masking step by step is not enough: where `pri` is wanted, `p` alone may be likelier than `print`,
since it begins every other word with p as well, and after it only `ri` is left, which the model
never writes so. So whole ways are compared, best first (Dijkstra 1959, with log-probabilities for
distances): a way that is only begun can but grow less likely.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.healing import Vocabulary
from engine.sampling import Sampler
from engine.steps import Step

_MOST_LOOKS = 12
"""Ways that are looked into at most. The tokenizer's own is always among them."""

_SLACK = 3.0
"""Nats below the best at which a way is no more looked into when sampling: 5% of its chance."""

Chosen = list[tuple[int, Tensor]]
"""Ids, each with logits (vocab,) that say how likely it was, given the beginning and those before.
"""


@dataclass(frozen=True, slots=True)
class _Way:
    """Ids that write a part of the beginning."""

    ids: tuple[int, ...]
    rest: bytes
    """What they leave to write, at least one byte."""
    score: float
    """Log-probability of the ids together."""


def likeliest_beginning(
    logits: Tensor, begin: bytes, usual: Sequence[int], vocabulary: Vocabulary,
    adjusted: Callable[[Tensor], Tensor], sampler: Sampler, room: int,
) -> Generator[Step, Tensor, Chosen]:  # fmt: skip
    """Return at most `room` ids that write `begin` or begin with it, and perhaps write more.

    `usual` are the ids that the tokenizer makes of `begin`; `adjusted` changes logits as the
    request's sampling does before probabilities are made of them. Greedy, the result is the
    likeliest of all ways (as long as few enough are worth a look); sampled, ways are drawn by their
    probability. Yields steps none of whose ids is certain.
    """
    search = _Search(vocabulary, adjusted, room)
    search.look_into(_Way((), begin, 0.0), logits)
    slack = 0.0 if sampler.greedy else _SLACK
    if search.open_within(slack) and len(usual) > 1:
        rows = yield Step(tuple(usual[:-1]), 0, len(usual) - 1)
        search.follow(usual[:-1], rows)
    for _ in range(_MOST_LOOKS):
        way = search.open_within(slack)
        if way is None:
            break
        rows = yield Step(way.ids, 0)
        search.look_into(way, rows[0])
    return search.choose(sampler)


class _Search:
    """Ways that are begun, and ways that are whole."""

    def __init__(
        self, vocabulary: Vocabulary, adjusted: Callable[[Tensor], Tensor], room: int
    ) -> None:
        self._vocabulary, self._adjusted, self._room = vocabulary, adjusted, room
        self._open: list[tuple[float, tuple[int, ...], _Way]] = []
        """A heap, the likeliest first."""
        self._whole: list[tuple[tuple[int, ...], list[int], Tensor]] = []
        """Ids of a way, those that make it whole, and the scores of the way with each."""
        self._best = -torch.inf
        self._seen: set[tuple[int, ...]] = set()

    def open_within(self, slack: float) -> _Way | None:
        """Return the likeliest way begun that may come within `slack` of the best whole one."""
        while self._open and self._open[0][1] in self._seen:
            heapq.heappop(self._open)
        return self._open[0][2] if self._open and -self._open[0][0] > self._best - slack else None

    def look_into(self, way: _Way, logits: Tensor) -> None:
        """Take the logits after a way: it goes on in many, and some of those are whole."""
        self._seen.add(way.ids)
        scores = way.score + self._adjusted(logits).float().log_softmax(-1)
        last = len(way.ids) + 1 >= self._room
        ending: list[int] = []
        going_on: list[int] = []
        for id_ in self._vocabulary.agreeing(way.rest):
            whole = last or len(self._vocabulary.bytes_of(id_)) >= len(way.rest)
            (ending if whole else going_on).append(id_)
        if ending:
            of_ending = scores[torch.tensor(ending, device=scores.device)]
            self._best = max(self._best, float(of_ending.max()))
            self._whole.append((way.ids, ending, of_ending))
        for id_ in going_on:
            rest = way.rest[len(self._vocabulary.bytes_of(id_)) :]
            longer = _Way((*way.ids, id_), rest, float(scores[id_]))
            heapq.heappush(self._open, (-longer.score, longer.ids, longer))

    def follow(self, ids: Sequence[int], rows: Tensor) -> None:
        """Look into each way that `ids` begin with; `rows` are the logits after each of them."""
        for size, row in enumerate(rows, start=1):
            found = [way for _, known, way in self._open if known == tuple(ids[:size])]
            if found:
                self.look_into(found[0], row)

    def choose(self, sampler: Sampler) -> Chosen:
        """Return one whole way, as the request samples."""
        scores = torch.cat([of_ending for *_, of_ending in self._whole])
        ways = [(*ids, id_) for ids, ending, _ in self._whole for id_ in ending]
        chosen = ways[sampler.choose(scores, ())]
        return [(id_, self._given(chosen[:at])) for at, id_ in enumerate(chosen)]

    def _given(self, before: tuple[int, ...]) -> Tensor:
        """Return logits of the ids that whole ways have behind `before`: how likely those are."""
        size = len(before)
        following = torch.full((self._vocabulary.size,), -torch.inf)
        for ids, ending, scores in self._whole:
            if ids == before:
                following[ending] = following[ending].logaddexp(scores.cpu())
            elif ids[:size] == before:
                following[ids[size]] = following[ids[size]].logaddexp(scores.cpu().logsumexp(0))
        return following
