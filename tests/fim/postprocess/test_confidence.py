"""Probabilities of tokens decide what is shown unasked."""

import math
from collections.abc import AsyncGenerator

import pytest

from engine.api import Chunk, FinishReason, GenerationRequest, TokenLogprob, Usage
from engine.scripted import ScriptedEngine
from fim.completer import Completer
from fim.postprocess.candidate import Candidate, show_if_confident
from fim.postprocess.confidence import (
    POLICIES,
    Policy,
    Scorer,
    Scores,
    confident_part,
    first_line_end,
)
from fim.settings import FimSettings
from fim.snapshot import Snapshot, Source, Trigger


class Doubtful(ScriptedEngine):
    """Writes two pieces with given probabilities."""

    pieces: tuple[tuple[str, float], ...] = (("ab", 0.5), ("cd\n", 0.01))

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        if request.forced_prefix:
            yield Chunk(request.forced_prefix, (65,), (TokenLogprob(65, 0.0),))
        for text, probability in self.pieces:
            yield Chunk(text, (65,), (TokenLogprob(65, math.log(probability)),))
        yield Chunk("", finish=FinishReason.STOP, usage=Usage(1, 2, 0, 0.0, 0.0))


def snapshot(line: str) -> Snapshot:
    return Snapshot("u", "python", line + "\n", len(line))


def test_scores_are_of_the_text_between_two_places() -> None:
    scorer = Scorer()
    for text, probability in (("ab", 0.5), ("", 0.5), ("c", 0.1)):
        scorer.add(text, [math.log(probability)])
    scores = scorer.scores()
    assert scores.confidence(0, 2) == pytest.approx(0.5)
    assert scores.confidence(0, 1) == pytest.approx(0.5)
    assert scores.confidence(0, 3) == pytest.approx(0.025)
    assert scores.confidence(2, 3) == pytest.approx(0.05)
    assert scores.from_offset(2).confidence(0, 1) == pytest.approx(0.05)
    assert Scorer().scores().confidence(0, 9) == 1.0  # an engine that tells none


@pytest.mark.parametrize(("text", "end"), [("a\nb", 1), ("\n  a\nb", 4), ("", 0), ("  ", 2)])
def test_a_suggestion_is_judged_by_its_first_line_with_something_on_it(text: str, end: int) -> None:
    assert first_line_end(text) == end


async def test_what_is_unlikely_is_shown_only_when_asked_for() -> None:
    engine = Doubtful(lambda _: "")
    completer = Completer(engine, FimSettings(eagerness="balanced", candidates=1, prefetch=False))
    quiet = await completer.complete(snapshot("x = "))
    assert quiet.suggestions == ()
    assert "not sure enough" in quiet.explanation
    asked = await completer.complete(snapshot("x = "), Trigger.INVOKED)
    assert asked.suggestions[0].text == "abcd"
    assert asked.suggestions[0].confidence == pytest.approx(0.005)
    assert len(engine.requests) == 1  # what was held back is remembered


async def test_eager_shows_more_of_it() -> None:
    engine = Doubtful(lambda _: "")
    engine.pieces = (("ab", 0.5), (".cd\n", 0.01))
    shown = {}
    for eagerness in ("eager", "balanced", "reserved"):
        completer = Completer(engine, FimSettings(eagerness=eagerness, prefetch=False))
        result = await completer.complete(snapshot("x = "))
        shown[eagerness] = [one.text for one in result.suggestions]
    # The rest is too unlikely for all; "ab" is too short for those who want to be disturbed less.
    assert shown == {"eager": ["ab"], "balanced": [], "reserved": []}


async def test_typing_along_makes_the_rest_likelier() -> None:
    engine = Doubtful(lambda _: "")
    engine.pieces = (("ab", 0.01), ("cd\n", 0.9))
    completer = Completer(engine, FimSettings(eagerness="reserved", prefetch=False))
    assert (await completer.complete(snapshot("x = "))).suggestions == ()
    then = await completer.complete(snapshot("x = ab"))
    assert then.source is Source.TYPED_THROUGH
    assert then.suggestions[0].text == "cd"
    assert len(engine.requests) == 1


def scores_of(*pieces: tuple[str, float]) -> tuple[str, Scores]:
    scorer = Scorer()
    for text, probability in pieces:
        scorer.add(text, [math.log(probability)])
    return "".join(text for text, _ in pieces), scorer.scores()


BALANCED = Policy(min_line=0.1, min_part=0.2, min_characters=3)


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ((("abc", 0.9), ("(x)", 0.9)), "abc(x)"),
        ((("abc", 0.5), ("(", 0.5), ("xyz)", 0.01)), "abc"),  # half a pair is worse than none
        ((("abc", 0.9), ("('x ", 0.9), ("xyz)", 0.01)), "abc"),
        ((("abc", 0.9), ("('x', y", 0.9), (".z)", 0.01)), "abc('x', y"),
        ((("abc", 0.5), ("de", 0.01)), ""),  # not a word
        ((("abc ", 0.5), ("de", 0.01)), "abc"),
        ((("ab", 0.5), (".de", 0.01)), ""),  # too short to be worth a look
        ((("abc", 0.15), (".de", 0.01)), ""),
        ((("abc\n", 0.9), ("  de\n", 0.9), ("  f", 0.01)), "abc\n  de"),
        ((("\n", 0.9), ("  de\n", 0.9), ("  f", 0.01)), "\n  de"),
        ((("abc.", 0.5), ("de\n", 0.01), ("  f", 0.9)), "abc."),  # no line after an unsure one
    ],
)
def test_what_is_sure_of_a_text(pieces: tuple[tuple[str, float], ...], expected: str) -> None:
    text, scores = scores_of(*pieces)
    assert confident_part(text, scores, BALANCED) == expected


def test_nothing_known_is_sure_enough() -> None:
    assert confident_part("abc\n  de", Scores(), BALANCED) == "abc\n  de"


def test_scores_follow_the_documents_line_ends() -> None:
    text, scores = scores_of(("a\nb\n", 0.5), ("c", 0.1))
    moved = scores.with_line_endings(text, "\r\n")
    assert moved.ends == (6, 7)
    assert moved.confidence(6, 7) == pytest.approx(0.1)


def test_the_rest_of_a_text_has_the_rest_of_the_scores() -> None:
    _, scores = scores_of(("ab", 0.5), ("", 0.4), ("c", 0.1))
    assert scores.from_offset(2).confidence(0, 1) == pytest.approx(0.04)
    assert scores.from_offset(1).confidence(0, 1) == pytest.approx(0.5)
    assert scores.shifted(3).confidence(3, 5) == pytest.approx(0.5)


def test_the_settings_are_in_order() -> None:
    eager, balanced, reserved = (POLICIES[one] for one in ("eager", "balanced", "reserved"))
    assert eager.min_line < balanced.min_line < reserved.min_line < 1
    assert eager.min_part < balanced.min_part < reserved.min_part < 1


def test_a_sure_beginning_takes_the_closed_bracket_with_it() -> None:
    """It no longer ends with the bracket, and would double it."""
    text = 'if p.startswith("*")\n'
    here = Snapshot("file:///a.py", "python", text, text.index(")"))
    pieces = (") ", "and ", "p ", "== ", "wildly", ".unsure")
    ends = tuple(len("".join(pieces[: count + 1])) for count in range(len(pieces)))
    scores = Scores(ends, (-0.01, -0.01, -0.01, -0.01, -9.0, -9.0))
    found = Candidate("".join(pieces), 1, scores)
    result = show_if_confident(here, found, POLICIES["balanced"], allow_partial_line=True)
    (one,) = result.suggestions
    assert one.text.startswith(") and p")
    assert one.text != found.text
    assert one.applied_to(text) == f'if p.startswith("*"{one.text}\n'
