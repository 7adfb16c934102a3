"""The likeliest way to begin an answer with a given text (token healing; see
`engine.decoding.vocabulary`).

Masking step by step is not enough: where `pri` is wanted, `p` alone may be likelier than `print`,
since it begins every other word with p as well, and after it only `ri` is left, which the model
never writes so. So whole ways are compared, best first (Dijkstra 1959, with log-probabilities for
distances): a way that is only begun can but grow less likely. Each look is a step, so ways that no
text is ever cut into, and that no model has therefore seen, are not looked into.
"""

from __future__ import annotations

import heapq
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.decoding.logits_reader import Reading
from engine.decoding.sampler import Sampler
from engine.decoding.sequence import Step
from engine.tokenizer import Tokenizer

_MOST_LOOKS = 12
"""Ways that are looked into at most. The tokenizer's own is always among them."""

_SLACK = 3.0
"""Nats below the best at which a way is no more looked into when sampling: 5% of its chance."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """How an answer begins."""

    ids: tuple[int, ...]
    logits: Tensor
    """(ids, vocab): how likely each was, given the text to begin with and the ids before."""


@dataclass(frozen=True, slots=True)
class _Way:
    """Ids that write a part of the beginning."""

    ids: tuple[int, ...]
    rest: bytes
    """What they leave to write, at least one byte."""
    score: float
    """Log-probability of the ids together."""


def likeliest_beginning(
    logits: Tensor,
    begin: bytes,
    usual: Sequence[int],
    tokenizer: Tokenizer,
    sampler: Sampler,
    room: int,
) -> Generator[Step, Reading, Beginning]:
    """Return at most `room` ids that write `forced_prefix` or begin with it, and perhaps write
    more.

    `logits` (1, vocab) follow the prompt; `usual` are the ids that the tokenizer makes of
    `forced_prefix`.
    Greedy, the result is the likeliest of all ways (as long as few enough are worth a look);
    sampled, ways are drawn by their probability. Yields steps none of whose ids is certain.
    """
    search = _Search(tokenizer, sampler, room)
    search.look_into(_Way((), begin, 0.0), logits)
    slack = 0.0 if sampler.greedy else _SLACK
    if search.open_within(slack) and len(usual) > 1:
        reading = yield Step(tuple(usual[:-1]), 0, len(usual) - 1)
        search.follow(usual[:-1], reading.logits)
    for _ in range(_MOST_LOOKS):
        way = search.open_within(slack)
        if way is None:
            break
        reading = yield Step(way.ids, 0)
        search.look_into(way, reading.logits)
    return search.choose()


class _Search:
    """Ways that are begun, and ways that are whole."""

    def __init__(self, tokenizer: Tokenizer, sampler: Sampler, room: int) -> None:
        self._tokenizer, self._vocabulary = tokenizer, tokenizer.vocabulary
        self._sampler, self._room = sampler, room
        self._open: list[tuple[float, tuple[int, ...], _Way]] = []
        """A heap, the likeliest first."""
        self._whole: list[tuple[tuple[int, ...], list[int], Tensor]] = []
        """Ids of a way, those that make it whole, and the scores of the way with each."""
        self._best = -torch.inf
        self._seen: set[tuple[int, ...]] = set()

    def open_within(self, slack: float) -> _Way | None:
        """Return the likeliest way begun that may come within `slack` of the best whole one."""
        while self._open and -self._open[0][0] > self._best - slack:
            way = self._open[0][2]
            seen = way.ids in self._seen
            if not seen and (not way.ids or self._tokenizer.may_go_on(way.ids[-1], way.rest)):
                return way
            heapq.heappop(self._open)
        return None

    def look_into(self, way: _Way, logits: Tensor) -> None:
        """Take the logits (1, vocab) after a way: it goes on in many, and some of them end it."""
        self._seen.add(way.ids)
        last = len(way.ids) + 1 >= self._room
        ending: list[int] = []
        going_on: list[int] = []
        for id_ in self._vocabulary.agreeing(way.rest):
            whole = last or len(self._vocabulary.bytes_of(id_)) >= len(way.rest)
            (ending if whole else going_on).append(id_)
        following = self._sampler.penalized(logits, guess=()).log_softmax(-1)[0]
        wanted = torch.tensor(ending + going_on).to(logits.device, non_blocking=True)
        # To the host in one copy, whatever is asked of them there.
        scores = way.score + following[wanted].cpu()
        if ending:
            of_ending = scores[: len(ending)]
            self._best = max(self._best, float(of_ending.max()))
            self._whole.append((way.ids, ending, of_ending))
        for id_, score in zip(going_on, scores[len(ending) :].tolist(), strict=True):
            rest = way.rest[len(self._vocabulary.bytes_of(id_)) :]
            longer = _Way((*way.ids, id_), rest, score)
            heapq.heappush(self._open, (-score, longer.ids, longer))

    def follow(self, ids: Sequence[int], rows: Tensor) -> None:
        """Look into each way that `ids` begin with; `rows` are the logits after each of them."""
        for size, row in enumerate(torch.split(rows, 1), start=1):
            found = [way for _, known, way in self._open if known == tuple(ids[:size])]
            if found:
                self.look_into(found[0], row)

    def choose(self) -> Beginning:
        """Return one whole way, as the request samples."""
        scores = torch.cat([of_ending for *_, of_ending in self._whole])
        ways = [(*ids, id_) for ids, ending, _ in self._whole for id_ in ending]
        chosen = ways[int(self._sampler.draw(scores[None], 0))]
        return Beginning(
            chosen, torch.stack([self._given(chosen[:at]) for at in range(len(chosen))])
        )

    def _given(self, before: tuple[int, ...]) -> Tensor:
        """Return logits of the ids that whole ways have behind `before`: how likely those are."""
        size = len(before)
        following = torch.full((self._vocabulary.size,), -torch.inf)
        for ids, ending, scores in self._whole:
            if ids == before:
                following[ending] = following[ending].logaddexp(scores)
            elif ids[:size] == before:
                following[ids[size]] = following[ids[size]].logaddexp(scores.logsumexp(0))
        return following
