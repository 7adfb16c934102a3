"""The ids of blocks of lines are cached, in little memory."""

import sys

from fim.prompt.window import cached_encoder


def test_the_cache_holds_four_bytes_per_id_and_a_bounded_number_of_blocks() -> None:
    calls = []

    def encode(text: str) -> list[int]:
        calls.append(text)
        return list(range(1000, 2000))

    encode_cached = cached_encoder(encode)
    ids = encode_cached("a")
    assert list(ids) == encode("a")
    assert sys.getsizeof(ids) + sys.getsizeof(ids[0]) < 5 * len(ids)
    del calls[:]
    encode_cached("a")
    assert calls == []
    for number in range(600):
        encode_cached(str(number))
    encode_cached("a")
    assert len(calls) == 601
