"""Output ends at a stop string, or at the end of its line."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.decoding.stop_text import StopText
from fim.postprocess.truncate import Extent, Scope, continue_line_after, truncate


def fed(stop: StopText, pieces: list[str]) -> str:
    """The text that passes if pieces are fed as an engine does, up to the end."""
    passed = ""
    for piece in pieces:
        passed += stop.feed(piece)
        if stop.reached:
            return passed
    return passed + stop.flush()


@pytest.mark.parametrize(
    ("text", "continue_after", "expected"),
    [
        ("a + b\nprint()", (), "a + b"),
        ("a + b\nprint()", None, "a + b\nprint()"),
        ("\nprint()", (), ""),
        ("if a:\n  b\nc", (":",), "if a:\n  b\nc"),
        ("if a:  \n  b\nc", (":",), "if a:  \n  b\nc"),
        ("a\nif b:\n  c", (":",), "a"),  # only the first line counts
        ("a", (":",), "a"),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 100])
def test_single_line_ends_the_output(
    text: str, continue_after: tuple[str, ...] | None, expected: str, size: int
) -> None:
    stop_text = StopText(
        (),
        single_line=continue_after is not None,
        continue_line_after=continue_after or (),
    )
    assert fed(stop_text, split(text, size)) == expected


def split(text: str, size: int) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


def test_the_ignored_start_is_part_of_the_line() -> None:
    stop_text = StopText((), 4, single_line=True, continue_line_after=(":",))
    assert fed(stop_text, ["if a", ":", "\n", "b\nc"]) == "if a:\nb\nc"
    stop_text = StopText((), 5, single_line=True, continue_line_after=(":",))
    assert fed(stop_text, ["if a", ":", "\n", "b\nc"]) == "if a:\nb\nc"
    assert fed(StopText(("x",), 2, single_line=True), ["xxab", "c\nd"]) == "xxabc"


def test_the_first_of_stop_string_and_line_feed_ends_the_output() -> None:
    assert fed(StopText(("END",), single_line=True), ["a E", "N", "\nD END"]) == "a EN"
    assert fed(StopText(("END",), single_line=True), ["a E", "ND\n"]) == "a "


OUTPUTS = st.lists(
    st.sampled_from(["a", " ", "\n", ":", " {", "do", "undo", "(", "    ", "end", "\t", "é"])
).map("".join)
SCOPES = st.builds(
    Scope,
    st.just(Extent.LINE) | st.just(Extent.BLOCK),
    indent=st.sampled_from([0, 4]),
    may_open=st.booleans(),
    language=st.sampled_from(["python", "ruby", "go"]),
)


@given(output=OUTPUTS, scope=SCOPES, size=st.integers(1, 5))
def test_a_line_that_the_engine_ends_would_be_truncated_there(
    output: str, scope: Scope, size: int
) -> None:
    stop_text = StopText(
        (),
        single_line=scope.extent is Extent.LINE,
        continue_line_after=continue_line_after(scope),
    )
    passed = fed(stop_text, split(output, size))
    assert truncate(passed, scope, ended=True) == truncate(output, scope, ended=True)


def stopped_by_search(text: str, pieces: list[str], stops: tuple[str, ...]) -> str:
    """The text up to the first stop string, found by searching all text after each piece."""
    for size in range(len(pieces) + 1):
        arrived = "".join(pieces[:size])
        starts = [start for stop in stops if (start := arrived.find(stop)) >= 0]
        if starts:
            return text[: min(starts)]
    return text


@given(
    text=st.text("ab", max_size=30),
    size=st.integers(1, 6),
    stops=st.lists(st.text("ab", min_size=1, max_size=9), min_size=1, max_size=3).map(tuple),
)
def test_the_output_ends_where_a_search_finds_a_stop_string(
    text: str, size: int, stops: tuple[str, ...]
) -> None:
    pieces = split(text, size)
    assert fed(StopText(stops), pieces) == stopped_by_search(text, pieces, stops)


@given(text=st.text("ab", max_size=30), stop=st.text("ab", min_size=1, max_size=9))
def test_only_text_that_may_start_a_stop_string_is_held_back(text: str, stop: str) -> None:
    stop_text = StopText((stop,))
    passed = "".join(map(stop_text.feed, text))
    if not stop_text.reached:
        starts = [size for size in range(len(stop)) if text.endswith(stop[:size])]
        assert passed == text[: len(text) - max(starts)]


def test_a_long_stop_string_takes_little_memory() -> None:
    stop = "ab" * 20_000
    tracemalloc.start()
    try:
        stop_text = StopText((stop,))
        passed = fed(stop_text, split(stop[:-1] + "x", 7))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert passed == stop[:-1] + "x"
    assert peak < 3_000_000  # a table of all prefixes takes 800 MB
