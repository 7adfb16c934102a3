"""Where an answer ends: at a string, or with its line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.decoding.stop_text import StopText
from fim.postprocess.truncate import Extent, Scope, continue_line_after, truncate


def fed(stop: StopText, pieces: list[str]) -> str:
    """What passes of the pieces, as an engine feeds them: none behind the end."""
    passed = ""
    for piece in pieces:
        passed += stop.feed(piece)
        if stop.reached:
            return passed
    return passed + stop.flush()


@pytest.mark.parametrize(
    ("text", "unless", "expected"),
    [
        ("a + b\nprint()", (), "a + b"),
        ("a + b\nprint()", None, "a + b\nprint()"),
        ("\nprint()", (), ""),
        ("if a:\n  b\nc", (":",), "if a:\n  b\nc"),
        ("if a:  \n  b\nc", (":",), "if a:  \n  b\nc"),
        ("a\nif b:\n  c", (":",), "a"),  # the first line alone counts
        ("a", (":",), "a"),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_line_ends_the_answer(
    text: str, unless: tuple[str, ...] | None, expected: str, size: int
) -> None:
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    stop_text = StopText((), single_line=unless is not None, continue_line_after=unless or ())
    assert fed(stop_text, pieces) == expected


def test_what_the_answer_begins_with_is_part_of_the_line() -> None:
    assert (
        fed(
            StopText((), 4, single_line=True, continue_line_after=(":",)),
            ["if a", ":", "\n", "b\nc"],
        )
        == "if a:\nb\nc"
    )
    assert fed(StopText(("x",), 2, single_line=True), ["xxab", "c\nd"]) == "xxabc"


def test_whichever_comes_first_ends_it() -> None:
    assert fed(StopText(("END",), single_line=True), ["a E", "N", "\nD END"]) == "a EN"
    assert fed(StopText(("END",), single_line=True), ["a E", "ND\n"]) == "a "


ANSWERS = st.lists(
    st.sampled_from(["a", " ", "\n", ":", " {", "do", "undo", "(", "    ", "end", "\t", "é"])
).map("".join)
SCOPES = st.builds(
    Scope,
    st.just(Extent.LINE) | st.just(Extent.BLOCK),
    indent=st.sampled_from([0, 4]),
    may_open=st.booleans(),
    language=st.sampled_from(["python", "ruby", "go"]),
)


@given(answer=ANSWERS, scope=SCOPES, size=st.integers(1, 5))
def test_where_the_engine_ends_a_line_it_would_have_been_cut(
    answer: str, scope: Scope, size: int
) -> None:
    pieces = [answer[at : at + size] for at in range(0, len(answer), size)]
    stop_text = StopText(
        (),
        single_line=scope.extent is Extent.LINE,
        continue_line_after=continue_line_after(scope),
    )
    written = fed(stop_text, pieces)
    assert truncate(written, scope, ended=True) == truncate(answer, scope, ended=True)
