"""The passages of a request are searched for the text so far, by bytes."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.api import Memory
from engine.decoding.memory_text import MATCH_SIZES, ContinuationTokens, MemoryText
from engine.decoding.vocabulary import Vocabulary
from engine.loading.load import load
from engine.settings import EngineSettings


@pytest.fixture(scope="module")
def tokens() -> ContinuationTokens:
    return ContinuationTokens(
        Vocabulary(load(EngineSettings(model="demo"), lambda *_: None).model.tokenizer)
    )


def search(
    tokens: ContinuationTokens, before: str, *passages: str, forced_prefix: str = ""
) -> dict[str, list[tuple[int, int]]]:
    """The text of each continuation, with pairs of the smallest match of its class and a count."""
    text = MemoryText(Memory(before, passages), tokens)
    return {
        tokens.vocabulary.bytes_of(each.id).decode("latin-1"): [
            (MATCH_SIZES[size], count) for size, count in sorted(each.counts)
        ]
        for each in text.continuations((), forced_prefix.encode())
    }


def test_tokens_after_the_longest_tail_are_found(tokens: ContinuationTokens) -> None:
    assert search(tokens, "abc = ", "abc = 1", "abc = 2", "abc = 1\n") == {
        "1": [(6, 2)],
        "2": [(6, 1)],
    }
    # A tail of twelve bytes occurs, so shorter matches do not count.
    assert search(tokens, "value = abc = ", "value = abc = 3", "abc = 1") == {"3": [(13, 1)]}


def test_matches_have_classes_of_size(tokens: ContinuationTokens) -> None:
    before = string.printable[:80]
    for size, smallest in ((5, 5), (7, 6), (12, 10), (44, 31), (45, 45), (80, 64)):
        assert search(tokens, before, f"\t{before[-size:]}\n") == {"\n": [(smallest, 1)]}, size
    assert search(tokens, before, f"|{before[-4:]};") == {}


def test_no_match_crosses_passages(tokens: ContinuationTokens) -> None:
    assert search(tokens, "abcdef", "abc", "def") == {}
    assert search(tokens, "abcdef", "abcdef", "g") == {}
    assert search(tokens, "abcdef", "abcdef", "abcdef;") == {";": [(6, 1)]}


def test_a_shorter_match_counts_where_nothing_follows_the_longer_one(
    tokens: ContinuationTokens,
) -> None:
    before = "0123456789abcdef"
    assert search(tokens, before, before, "bcdef;") == {";": [(5, 1)]}
    assert search(tokens, before, before, "cd", "bcdef;") == {";": [(5, 1)]}


def test_matches_may_overlap(tokens: ContinuationTokens) -> None:
    assert search(tokens, "-----", "-------;")[";"] == [(5, 1)]
    counts = search(tokens, "-----", "-------;")
    assert sum(count for classes in counts.values() for _, count in classes) == 3


def test_continuations_agree_with_the_forced_prefix(tokens: ContinuationTokens) -> None:
    passages = ("import abc", "import os", "import ab")
    assert search(tokens, "import ", *passages, forced_prefix="ab") == {"abc": [(6, 1)]}
    assert search(tokens, "import ", *passages, forced_prefix="x") == {}


def test_characters_are_not_cut(tokens: ContinuationTokens) -> None:
    assert search(tokens, "x = 'a🎉", "x = 'a🎉ü'") == {"\xc3": [(10, 1)]}
    long = "🎉" * 40
    text = MemoryText(Memory("abcde", ("abcde" + long,)), tokens)
    _, draft = text.draft(200)
    decoded = b"".join(map(tokens.vocabulary.bytes_of, draft))
    assert decoded
    assert long.encode().startswith(decoded)


def test_text_that_spells_special_tokens_stays_text(tokens: ContinuationTokens) -> None:
    for special in ("<fim_middle>", "<|endoftext|>"):
        [continuation] = search(tokens, "abcd ", f"abcd {special}x")
        assert special.startswith(continuation.strip())
        assert continuation != special


def test_line_ends_are_one_token_if_the_output_ends_with_its_line(
    tokens: ContinuationTokens,
) -> None:
    line_ends = frozenset(tokens.vocabulary.line_end_ids)
    memory = Memory("abcde", ("abcde\n", "abcde\n    x", "abcde\n\n\ny"))
    assert len(MemoryText(memory, tokens).continuations()) > 1
    text = MemoryText(memory, tokens, line_ends)
    [continuation] = text.continuations()
    assert continuation.id == text.line_end == min(line_ends)
    assert sum(count for _, count in continuation.counts) == 3


def test_the_output_is_part_of_the_text(tokens: ContinuationTokens) -> None:
    memory = Memory("x", ("return abc", "yield xyz"))
    text = MemoryText(memory, tokens)
    ids = tokens.vocabulary.encode("return ")
    expected = MemoryText(Memory("xreturn ", memory.passages), tokens).continuations()
    assert expected
    assert text.continuations(ids) == expected
    assert text.continuations() == []
    for id_ in ids:
        text.write(id_)
    assert text.continuations() == expected


def test_a_draft_is_what_follows_the_longest_match(tokens: ContinuationTokens) -> None:
    passages = ("value = first(a, b)", "a value = second(a, b)", "lue = third(c)")
    size, draft = MemoryText(Memory("a value = ", passages), tokens).draft(3)
    assert MATCH_SIZES[size] == 10
    assert tokens.vocabulary.encode("second(a, b)")[:3] == list(draft)
    assert MemoryText(Memory("qqq", passages), tokens).draft(3)[1] == ()


def test_a_draft_ends_with_its_passage_and_has_no_cut_token(tokens: ContinuationTokens) -> None:
    memory = Memory("value = ", ("value = first_name", "_of_other"))
    ids = MemoryText(memory, tokens).draft(50)[1]
    assert "first_name".startswith(b"".join(map(tokens.vocabulary.bytes_of, ids)).decode())
    cut = MemoryText(Memory("value = ", ("value = first_na",)), tokens).draft(50)[1]
    decoded = b"".join(map(tokens.vocabulary.bytes_of, cut))
    assert b"first_na".startswith(decoded)
    assert decoded != b"first_na"
    following = "a + compute_the_result(values)" * 12
    long = MemoryText(Memory("value = ", ("value = " + following,)), tokens).draft(24)[1]
    assert list(long) == tokens.vocabulary.encode(following)[:24]


@given(
    passages=st.lists(st.text("ab\n", max_size=30), max_size=5),
    before=st.text("ab\n", min_size=1, max_size=40),
)
def test_the_search_equals_a_plain_one(
    tokens: ContinuationTokens, passages: list[str], before: str
) -> None:
    matches: dict[str, list[int]] = {}
    for passage in passages:
        for end in range(len(passage)):
            size = next(
                size
                for size in range(min(end, len(before)), -1, -1)
                if passage[end - size : end] == before[len(before) - size :]
            )
            matches.setdefault(passage[end : end + 32], []).append(size)
    longest = max((size for sizes in matches.values() for size in sizes), default=0)
    tail = next((tail for tail in (24, 12, 5) if tail <= longest), 1_000)
    expected: dict[int, int] = {}
    for continuation, sizes in matches.items():
        id_ = tokens.vocabulary.encode(continuation)[0]
        count = sum(size >= tail for size in sizes)
        if count:
            expected[id_] = expected.get(id_, 0) + count
    text = MemoryText(Memory(before, tuple(passages)), tokens)
    actual = {each.id: sum(count for _, count in each.counts) for each in text.continuations()}
    if sum(expected.values()) <= 32:
        assert actual == expected
    else:
        assert sum(actual.values()) == 32
