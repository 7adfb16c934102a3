"""Chunks that arrive fast are combined, and none is lost or late."""

from itertools import pairwise

import pytest

from engine.api import Chunk, FinishReason, TokenLogprob, Usage
from engine.scheduling import chunk_batching
from engine.scheduling.chunk_batching import ChunkBatcher


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(chunk_batching, "time", clock)
    return clock


def chunk(text: str, id_: int = 0) -> Chunk:
    return Chunk(text, (id_,), (TokenLogprob(id_, -float(id_)),), (len(text),))


def texts(chunks: list[Chunk]) -> list[str]:
    return [chunk.text for chunk in chunks]


END = Chunk("", finish=FinishReason.STOP, usage=Usage(1, 2, 0, 0.0, 0.0))


def test_chunks_that_arrive_fast_are_combined(clock: Clock) -> None:
    emitted: list[Chunk] = []
    batcher = ChunkBatcher(emitted.append, is_first_urgent=False)
    for number, text in enumerate(["re", "", "tu", "rn"]):
        batcher(chunk(text, number))
    assert emitted == []
    batcher(END)
    scores = tuple(TokenLogprob(id_, -float(id_)) for id_ in range(4))
    assert emitted == [
        Chunk("return", (0, 1, 2, 3), scores, (2, 2, 4, 6), FinishReason.STOP, END.usage)
    ]


def test_chunks_that_arrive_slowly_are_emitted_immediately(clock: Clock) -> None:
    emitted: list[Chunk] = []
    batcher = ChunkBatcher(emitted.append, is_first_urgent=False)
    for text in "abc":
        clock.now += 0.05
        batcher(chunk(text))
    assert texts(emitted) == ["a", "b", "c"]


def test_no_chunk_is_held_for_long(clock: Clock) -> None:
    times = [0.0]
    batcher = ChunkBatcher(lambda _: times.append(clock.now), is_first_urgent=False)
    for _ in range(60):
        clock.now += 0.002
        batcher(chunk("a"))
    assert max(b - a for a, b in pairwise(times)) <= 0.0221
    assert 5 <= len(times) <= 7


def test_an_urgent_first_chunk_is_emitted_immediately(clock: Clock) -> None:
    emitted: list[Chunk] = []
    batcher = ChunkBatcher(emitted.append, is_first_urgent=True)
    batcher(chunk("a"))
    batcher(chunk("b"))
    assert texts(emitted) == ["a"]


def test_the_end_and_the_start_of_a_line_are_not_held(clock: Clock) -> None:
    emitted: list[Chunk] = []
    batcher = ChunkBatcher(emitted.append, is_first_urgent=False)
    for text in ["a", "b\n", "   ", "", "c", "d", "e\nf", "g"]:
        batcher(chunk(text))
    batcher(END)
    assert texts(emitted) == ["ab\n", "   c", "de\nf", "g"]
