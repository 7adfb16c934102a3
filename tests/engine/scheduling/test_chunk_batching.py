"""Chunks that come fast are handed on together, and nothing is lost or late."""

from itertools import pairwise

import pytest

from engine.api import Chunk, FinishReason, TokenLogprob, Usage
from engine.scheduling import chunk_batching as gathering
from engine.scheduling.chunk_batching import Gathering


class Clock:
    """Told by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(gathering, "time", made)
    return made


def chunk(text: str, id_: int = 0) -> Chunk:
    return Chunk(text, (id_,), (TokenLogprob(id_, -float(id_)),), (len(text),))


END = Chunk("", finish=FinishReason.STOP, usage=Usage(1, 2, 0, 0.0, 0.0))


def test_chunks_that_come_fast_are_one(clock: Clock) -> None:
    given: list[Chunk] = []
    take = Gathering(given.append, at_once=False)
    for number, text in enumerate(["re", "", "tu", "rn"]):
        take(chunk(text, number))
    assert given == []
    take(END)
    scores = tuple(TokenLogprob(id_, -float(id_)) for id_ in range(4))
    assert given == [
        Chunk("return", (0, 1, 2, 3), scores, (2, 2, 4, 6), FinishReason.STOP, END.usage)
    ]


def test_chunks_that_come_slowly_are_handed_on_at_once(clock: Clock) -> None:
    given: list[Chunk] = []
    take = Gathering(given.append, at_once=False)
    for text in "abc":
        clock.now += 0.05
        take(chunk(text))
    assert [one.text for one in given] == ["a", "b", "c"]


def test_none_is_held_for_long(clock: Clock) -> None:
    given: list[tuple[float, str]] = []
    take = Gathering(lambda one: given.append((clock.now, one.text)), at_once=False)
    for _ in range(60):
        clock.now += 0.002
        take(chunk("a"))
    times = [0.0, *(at for at, _ in given)]
    assert max(b - a for a, b in pairwise(times)) <= 0.0221
    assert 4 <= len(given) <= 6


def test_who_reads_along_gets_the_first_at_once(clock: Clock) -> None:
    given: list[Chunk] = []
    take = Gathering(given.append, at_once=True)
    take(chunk("a"))
    take(chunk("b"))
    assert [one.text for one in given] == ["a"]


def test_a_lines_end_and_the_beginning_of_the_next_are_not_held(clock: Clock) -> None:
    given: list[Chunk] = []
    take = Gathering(given.append, at_once=False)
    for text in ["a", "b\n", "   ", "", "c", "d", "e\nf", "g"]:
        take(chunk(text))
    take(END)
    assert [one.text for one in given] == ["ab\n", "   c", "de\nf", "g"]
