"""The rest of a candidate after the user typed a part of it."""

import pytest

from fim.postprocess.candidate import Candidate


@pytest.mark.parametrize(
    ("candidate", "typed", "rest"),
    [
        (Candidate("a)", replaced=1, is_complete=True), "a", ")"),
        (Candidate("a)", is_complete=True), "a)", ""),
        # What follows the typed text is unknown.
        (Candidate("a)", is_complete=False), "a)", None),
        (Candidate("a)", replaced=1, is_complete=True), "a)", None),
        (Candidate("a)", is_complete=True), "b", None),
    ],
)
def test_the_rest_of_a_candidate(candidate: Candidate, typed: str, rest: str | None) -> None:
    result = candidate.after_typing(typed)
    assert (None if result is None else result.text) == rest
