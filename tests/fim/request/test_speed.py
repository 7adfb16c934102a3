"""Tokens per second of complete outputs and of outputs that are cut off."""

from itertools import chain, repeat

import pytest

from engine.api import Chunk, FinishReason, Usage
from fim.request.speed import SpeedMeter


def measured(chunks: list[Chunk], seconds: list[float]) -> float:
    times = chain(seconds, repeat(seconds[-1]))
    speed = SpeedMeter(lambda: next(times))
    for chunk in chunks:
        speed.add(chunk)
    return speed.tokens_per_second


def test_an_output_that_is_cut_off_is_measured_from_its_first_chunk() -> None:
    # The first chunk arrives after 9 s of prefill. Then 2 ids arrive every half second.
    chunks = [Chunk("a", (1,)), *[Chunk("bc", (2, 3))] * 4]
    assert measured(chunks, [9.0, 9.5, 10.0, 10.5, 11.0]) == pytest.approx(4.0)


def test_the_measurement_of_the_engine_has_priority() -> None:
    end = Chunk("", finish=FinishReason.STOP, usage=Usage(10, 50, 0, 700.0, 250.0))
    assert measured([Chunk("a", (1,)), Chunk("b", (2,)), end], [0.0, 1.0]) == pytest.approx(200.0)


@pytest.mark.parametrize("num_chunks", [0, 1, 3])
def test_too_few_tokens_give_no_speed(num_chunks: int) -> None:
    assert measured([Chunk("a", (1,))] * num_chunks, [0.0, 0.5, 1.0]) == 0.0


def test_a_server_that_sends_no_ids_gives_no_speed() -> None:
    end = Chunk("", finish=FinishReason.STOP, usage=Usage(10, 50, 0, 0.0, 0.0))
    assert measured([*[Chunk("text")] * 9, end], [0.0, 1.0, 2.0]) == 0.0
