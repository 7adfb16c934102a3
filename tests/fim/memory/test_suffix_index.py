"""The suffix index finds the same places as a plain search."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fim.memory.suffix_index import MAX_MATCH_BYTES, SEPARATOR, SuffixIndex

ALPHABETS = st.sampled_from(
    ["ab", "aé", "a\0b", "\ud800a\n", "😀é€a", "é©aã", "\udfff\ud800", "x\r\n"]
)
TEXTS = ALPHABETS.flatmap(
    lambda alphabet: st.tuples(
        st.lists(st.text(alphabet, max_size=40), max_size=5), st.text(alphabet, max_size=12)
    )
)


def plain_search(texts: Sequence[str], context: str) -> list[tuple[int, int, int]]:
    """The length of the match, the text and the offset of each place that matches."""
    places = []
    for number, text in enumerate(texts):
        for offset in range(len(text) + 1):
            length = 0
            while length < min(offset, len(context)):
                character = context[-1 - length]
                if character == SEPARATOR or text[offset - 1 - length] != character:
                    break
                length += 1
            if length:
                places.append((length, number, offset))
    return sorted(places, reverse=True)


@given(TEXTS)
@settings(max_examples=300, deadline=None)
def test_all_places_are_found_and_the_longest_match_comes_first(
    example: tuple[list[str], str],
) -> None:
    texts, context = example
    index = SuffixIndex(texts)
    hits = list(index.hits(context))
    places = [(hit.match_length, hit.document, index.offset(hit)) for hit in hits]
    assert sorted(places, reverse=True) == plain_search(texts, context)
    lengths = [hit.match_length for hit in hits]
    assert lengths == sorted(lengths, reverse=True)
    assert [index.text(number) for number in range(len(texts))] == texts


@given(TEXTS, st.integers(0, 9))
@settings(max_examples=200, deadline=None)
def test_the_text_around_a_place_has_whole_characters(
    example: tuple[list[str], str], max_bytes: int
) -> None:
    texts, context = example
    index = SuffixIndex(texts)
    for hit in index.hits(context):
        text, offset = texts[hit.document], index.offset(hit)
        before, after = index.before(hit, max_bytes), index.after(hit, max_bytes)
        assert text[:offset].endswith(before)
        assert text[offset:].startswith(after)
        for part, whole in ((before, text[:offset]), (after, text[offset:])):
            size = len(part.encode("utf-8", "surrogatepass"))
            assert size <= max_bytes
            assert len(part) == len(whole) or size > max_bytes - 4


@pytest.mark.parametrize("unit", ["a", "é", "😀"])
def test_long_texts_and_contexts(unit: str) -> None:
    """The match is limited, and offsets are right beyond the first stored count of characters."""
    text = unit * 3000 + "x" + unit * 10
    index = SuffixIndex(["", text, "y"])
    (hit, *_) = index.hits(unit * 3000 + "x")
    assert (hit.document, index.offset(hit)) == (1, 3001)
    size = len(unit.encode())
    assert MAX_MATCH_BYTES - 4 <= (hit.match_length - 1) * size + 1 <= MAX_MATCH_BYTES
    assert index.after(hit, 1000) == unit * 10


@pytest.mark.parametrize("unit", ["a = b\n", "größe = é\n", "数量 = 名前\n", "😀😀"])
def test_it_takes_at_most_twelve_bytes_per_character(unit: str) -> None:
    texts = [unit * 1000] * 20
    index = SuffixIndex(texts)
    assert index.num_memory_bytes <= 12 * sum(map(len, texts))
