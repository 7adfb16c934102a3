"""The cache returns candidates for the same place and for places within a suggestion."""

from hypothesis import given
from hypothesis import strategies as st

from fim.postprocess.candidate import Candidate
from fim.request.cache import SuggestionCache
from fim.snapshot import Snapshot, Source


@given(text=st.text(st.sampled_from("abc =(\n🎉"), min_size=2, max_size=30))
def test_typing_any_part_of_a_suggestion_returns_the_rest(text: str) -> None:
    cache = SuggestionCache(100, 60)
    snapshot = Snapshot("u", "python", "x = \nafter", 4)
    cache.store(snapshot, Candidate(text))
    for count in range(1, len(text)):
        later = Snapshot("u", "python", f"x = {text[:count]}\nafter", 4 + count)
        rest = cache.find(later)
        assert rest is not None
        assert rest.text == text[count:]
        assert rest.source is Source.TYPED_THROUGH
    other = Snapshot("u", "python", "x = ~\nafter", 5)
    assert cache.find(other) is None


def test_the_rest_of_a_suggestion_is_returned_in_a_text_that_repeats_itself() -> None:
    cache = SuggestionCache(100, 60)
    text = "0, " * 1000
    cache.store(Snapshot("u", "python", text, len(text)), Candidate("0, 1"))
    rest = cache.find(Snapshot("u", "python", text + "0", len(text) + 1))
    assert rest is not None
    assert rest.text == ", 1"


def test_empty_candidates_are_cached_too_until_they_expire() -> None:
    now = 0.0
    cache = SuggestionCache(100, 60, timer=lambda: now)
    snapshot = Snapshot("u", "python", "x = ", 4)
    cache.store(snapshot, Candidate(""))
    candidate = cache.find(snapshot)
    assert candidate is not None
    assert candidate.text == ""
    now = 61.0
    assert cache.find(snapshot) is None


def test_only_the_texts_of_present_candidates_are_kept() -> None:
    cache = SuggestionCache(50, 60)
    for number in range(1000):
        text = f"x{number} = "
        cache.store(Snapshot("u", "python", text, len(text)), Candidate("1"))
        if number % 3 == 0:
            cache.store(Snapshot("u", "python", f"{text}\n{number}", len(text)), Candidate("2"))
    assert sum(map(len, cache._texts_before.values())) <= 2 * 50 + 1
    last = cache.find(Snapshot("u", "python", "x999 = ", 7))
    assert last is not None
