"""A text of the project replaces the model's candidate where it is more probable."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fim.memory.second_opinion import merged, more_probable
from fim.postprocess.candidate import Candidate
from fim.postprocess.confidence import Scores
from fim.postprocess.truncate import scope_of
from fim.snapshot import Passage, Snapshot

LONG = Passage("value = first(second(third, fourth), ", "memory)\n", 200)
SHORT = Passage("x, ", "memory)\n", 3)
RIVAL = Passage("value = first(second(third, fourth), ", "other)\n", 200)


def chosen(candidate: Candidate, *passages: Passage) -> Candidate:
    text = "value = first(second(third, fourth), "
    snapshot = Snapshot("u", "python", text + "\n", len(text), passages=passages)
    return more_probable(candidate, snapshot, scope_of(snapshot))


def scored(text: str, logprob: float) -> Candidate:
    return Candidate(text, scores=Scores((len(text),), (logprob,)))


@pytest.mark.parametrize(
    ("candidate", "passages", "text"),
    [
        (scored("model)", -3.0), (LONG,), "memory)"),
        (scored("model)", -0.01), (LONG,), "model)"),
        (scored("model)", -1.0), (SHORT,), "model)"),
        (scored("model)", -3.0), (), "model)"),
        # The model suggests nothing.
        (Candidate(""), (LONG,), "memory)"),
        (Candidate("", scores=Scores((1,), (-0.1,))), (LONG,), "memory)"),
        (Candidate(""), (SHORT,), ""),
        # The probability of the model's text is unknown.
        (Candidate("model)"), (LONG,), "memory)"),
        (Candidate("model)"), (LONG, RIVAL), "model)"),
        (Candidate("model)"), (replace(LONG, count=64), RIVAL), "model)"),
        (Candidate("model)"), (Passage(LONG.before, LONG.after, 60, 64),), "model)"),
        (Candidate("model)"), (SHORT,), "model)"),
    ],
)
def test_the_more_probable_text_is_chosen(
    candidate: Candidate, passages: tuple[Passage, ...], text: str
) -> None:
    assert chosen(candidate, *passages).text == text


def test_the_confidence_is_that_of_the_source() -> None:
    model = scored("model)", -1.5)
    assert chosen(model, SHORT).confidence == model.confidence
    alone = chosen(model, LONG).confidence
    assert model.confidence < alone < 1
    # A contradiction makes the text of the project less probable.
    assert chosen(model, LONG, RIVAL).confidence < alone


def test_of_two_equal_texts_the_more_probable_one_stays() -> None:
    sure, unsure = scored("a", -0.1), scored("a", -2.0)
    other = scored("b", -1.0)
    assert merged([unsure, other], [sure]) == [sure, other]
    assert merged([sure], [unsure, other]) == [sure, other]
