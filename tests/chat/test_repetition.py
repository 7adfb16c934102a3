"""Repetition at the end of an answer is detected."""

import pytest

from chat.repetition import end_before_loop


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("a\na\na\n", 2),
        ("x\na\nb\na\nb\na\nb\n", 6),
        ("a\na\n", None),
        ("\n\n\n\n", None),
        ("a\na\na", None),
        ("", None),
    ],
)
def test_a_repetition_ends_after_its_first_occurrence(text: str, end: int | None) -> None:
    assert end_before_loop(text) == end
