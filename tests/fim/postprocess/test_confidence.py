"""The probabilities of the tokens decide what is shown automatically."""

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


class UncertainEngine(ScriptedEngine):
    """An engine that writes two pieces with given probabilities."""

    pieces: tuple[tuple[str, float], ...] = (("ab", 0.5), ("cd\n", 0.01))

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        if request.forced_prefix:
            yield Chunk(request.forced_prefix, (65,), (TokenLogprob(65, 0.0),))
        for text, probability in self.pieces:
            yield Chunk(text, (65,), (TokenLogprob(65, math.log(probability)),))
        yield Chunk("", finish=FinishReason.STOP, usage=Usage(1, 2, 0, 0.0, 0.0))


def snapshot(line: str) -> Snapshot:
    return Snapshot("u", "python", line + "\n", len(line))


def test_the_confidence_is_that_of_the_text_between_two_offsets() -> None:
    scorer = Scorer()
    for text, probability in (("ab", 0.5), ("", 0.5), ("c", 0.1)):
        scorer.add(text, [math.log(probability)])
    scores = scorer.scores()
    assert scores.confidence(0, 2) == pytest.approx(0.5)
    assert scores.confidence(0, 1) == pytest.approx(0.5)
    assert scores.confidence(0, 3) == pytest.approx(0.025)
    assert scores.confidence(2, 3) == pytest.approx(0.05)
    assert scores.from_offset(2).confidence(0, 1) == pytest.approx(0.05)
    assert Scorer().scores().confidence(0, 9) == 1.0  # an engine that reports none


@pytest.mark.parametrize(("text", "end"), [("a\nb", 1), ("\n  a\nb", 4), ("", 0), ("  ", 2)])
def test_the_first_non_empty_line_is_found(text: str, end: int) -> None:
    assert first_line_end(text) == end


async def test_an_improbable_suggestion_is_shown_only_on_request() -> None:
    engine = UncertainEngine(lambda _: "")
    completer = Completer(engine, FimSettings(eagerness="balanced", candidates=1, prefetch=False))
    automatic = await completer.complete(snapshot("x = "))
    assert automatic.suggestions == ()
    assert "not sure enough" in automatic.explanation
    invoked = await completer.complete(snapshot("x = "), Trigger.INVOKED)
    assert invoked.suggestions[0].text == "abcd"
    assert invoked.suggestions[0].confidence == pytest.approx(0.005)
    assert len(engine.requests) == 1  # the hidden suggestion is cached


async def test_eager_shows_shorter_beginnings() -> None:
    engine = UncertainEngine(lambda _: "")
    engine.pieces = (("ab", 0.5), (".cd\n", 0.01))
    shown = {}
    for eagerness in ("eager", "balanced", "reserved"):
        completer = Completer(engine, FimSettings(eagerness=eagerness, prefetch=False))
        result = await completer.complete(snapshot("x = "))
        shown[eagerness] = [suggestion.text for suggestion in result.suggestions]
    # The rest is too improbable for all policies; "ab" is too short except for `eager`.
    assert shown == {"eager": ["ab"], "balanced": [], "reserved": []}


async def test_typing_the_uncertain_part_makes_the_rest_more_probable() -> None:
    engine = UncertainEngine(lambda _: "")
    engine.pieces = (("ab", 0.01), ("cd\n", 0.9))
    completer = Completer(engine, FimSettings(eagerness="reserved", prefetch=False))
    assert (await completer.complete(snapshot("x = "))).suggestions == ()
    rest = await completer.complete(snapshot("x = ab"))
    assert rest.source is Source.TYPED_THROUGH
    assert rest.suggestions[0].text == "cd"
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
        ((("abc", 0.5), ("(", 0.5), ("xyz)", 0.01)), "abc"),  # no unmatched bracket
        ((("abc", 0.9), ("('x ", 0.9), ("xyz)", 0.01)), "abc"),
        ((("abc", 0.9), ("('x', y", 0.9), (".z)", 0.01)), "abc('x', y"),
        ((("abc", 0.5), ("de", 0.01)), ""),  # not a whole word
        ((("abc ", 0.5), ("de", 0.01)), "abc"),
        ((("ab", 0.5), (".de", 0.01)), ""),  # too short
        ((("abc", 0.15), (".de", 0.01)), ""),
        ((("abc\n", 0.9), ("  de\n", 0.9), ("  f", 0.01)), "abc\n  de"),
        ((("\n", 0.9), ("  de\n", 0.9), ("  f", 0.01)), "\n  de"),
        ((("abc.", 0.5), ("de\n", 0.01), ("  f", 0.9)), "abc."),  # no line after an uncertain one
    ],
)
def test_the_confident_part_of_a_text(pieces: tuple[tuple[str, float], ...], expected: str) -> None:
    text, scores = scores_of(*pieces)
    assert confident_part(text, scores, BALANCED) == expected


def test_a_text_without_scores_is_shown_whole() -> None:
    assert confident_part("abc\n  de", Scores(), BALANCED) == "abc\n  de"


def test_scores_follow_the_line_endings_of_the_document() -> None:
    text, scores = scores_of(("a\nb\n", 0.5), ("c", 0.1))
    converted = scores.with_line_endings(text, "\r\n")
    assert converted.ends == (6, 7)
    assert converted.confidence(6, 7) == pytest.approx(0.1)


def test_the_scores_of_the_rest_of_a_text() -> None:
    _, scores = scores_of(("ab", 0.5), ("", 0.4), ("c", 0.1))
    assert scores.from_offset(2).confidence(0, 1) == pytest.approx(0.04)
    assert scores.from_offset(1).confidence(0, 1) == pytest.approx(0.5)
    assert scores.shifted(3).confidence(3, 5) == pytest.approx(0.5)


def test_the_policies_are_in_order() -> None:
    eager, balanced, reserved = (
        POLICIES[eagerness] for eagerness in ("eager", "balanced", "reserved")
    )
    assert eager.min_line < balanced.min_line < reserved.min_line < 1
    assert eager.min_part < balanced.min_part < reserved.min_part < 1


def test_a_shortened_suggestion_is_repaired_again() -> None:
    """The beginning does not end with the closing bracket, and would double it."""
    text = 'if p.startswith("*")\n'
    snapshot = Snapshot("file:///a.py", "python", text, text.index(")"))
    pieces = (") ", "and ", "p ", "== ", "wildly", ".unsure")
    ends = tuple(len("".join(pieces[: count + 1])) for count in range(len(pieces)))
    scores = Scores(ends, (-0.01, -0.01, -0.01, -0.01, -9.0, -9.0))
    candidate = Candidate("".join(pieces), 1, scores)
    result = show_if_confident(snapshot, candidate, POLICIES["balanced"], allow_partial_line=True)
    (suggestion,) = result.suggestions
    assert suggestion.text.startswith(") and p")
    assert suggestion.text != candidate.text
    assert suggestion.applied_to(text) == f'if p.startswith("*"{suggestion.text}\n'
