"""Output ends at a stop string, or at the end of its line."""

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
