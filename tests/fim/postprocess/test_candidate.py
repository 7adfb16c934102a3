"""A candidate is made from the output, and the user may type a part of it."""

import pytest

from fim.postprocess.candidate import Candidate, make_candidate
from fim.postprocess.confidence import Scores
from fim.snapshot import Snapshot


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


def test_scores_are_those_of_the_cleaned_text_with_the_documents_line_endings() -> None:
    text = "a = 1\r\nx = "
    snapshot = Snapshot("u", "python", text, len(text))
    scores = Scores((3, 4, 9), (-0.1, -0.2, -0.3))
    candidate = make_candidate(" f(\n    1)", scores, snapshot)
    assert candidate.text == "f(\r\n    1)"
    assert candidate.scores.ends == (2, 4, 9)


@pytest.mark.parametrize(("line_ending", "ends"), [("\n", (2, 3, 8)), ("\r\n", (2, 4, 9))])
def test_line_endings_of_windows_in_the_output_become_those_of_the_document(
    line_ending: str, ends: tuple[int, ...]
) -> None:
    text = f"a = 1{line_ending}x ="
    snapshot = Snapshot("u", "python", text, len(text))
    scores = Scores((2, 4, 9), (-0.1, -0.2, -0.3))
    candidate = make_candidate("f(\r\n    1)", scores, snapshot)
    assert candidate.text == f"f({line_ending}    1)"
    assert candidate.scores.ends == ends
