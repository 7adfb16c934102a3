"""Probabilities of tokens decide what is shown unasked."""

import math
from collections.abc import AsyncGenerator

import pytest

from engine.api import Chunk, FinishReason, GenerationRequest, TokenLogprob, Usage
from engine.scripted import ScriptedEngine
from fim.completer import Completer, FimSettings
from fim.confidence import THRESHOLDS, Scorer, first_line
from fim.snapshot import Snapshot, Source, Trigger


class Doubtful(ScriptedEngine):
    """Writes two pieces with given probabilities."""

    pieces: tuple[tuple[str, float], ...] = (("ab", 0.5), ("cd\n", 0.01))

    async def _write(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
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
    assert scores.from_offset(2).confidence(0, 1) == pytest.approx(0.1)
    assert Scorer().scores().confidence(0, 9) == 1.0  # an engine that tells none


@pytest.mark.parametrize(("text", "end"), [("a\nb", 1), ("\n  a\nb", 4), ("", 0), ("  ", 2)])
def test_a_suggestion_is_judged_by_its_first_line_with_something_on_it(text: str, end: int) -> None:
    assert first_line(text) == end


async def test_what_is_unlikely_is_shown_only_when_asked_for() -> None:
    engine = Doubtful(lambda _: "")
    completer = Completer(engine, FimSettings(eagerness="balanced"))
    quiet = await completer.complete(snapshot("x = "))
    assert quiet.suggestions == ()
    assert "not sure enough" in quiet.why
    asked = await completer.complete(snapshot("x = "), Trigger.INVOKED)
    assert asked.suggestions[0].text == "abcd"
    assert asked.suggestions[0].confidence == pytest.approx(0.005)
    assert len(engine.requests) == 1  # what was held back is remembered


async def test_eager_shows_it_at_once() -> None:
    completer = Completer(Doubtful(lambda _: ""), FimSettings(eagerness="eager"))
    assert (await completer.complete(snapshot("x = "))).suggestions


async def test_typing_along_makes_the_rest_likelier() -> None:
    engine = Doubtful(lambda _: "")
    engine.pieces = (("ab", 0.01), ("cd\n", 0.9))
    completer = Completer(engine, FimSettings(eagerness="reserved"))
    assert (await completer.complete(snapshot("x = "))).suggestions == ()
    then = await completer.complete(snapshot("x = ab"))
    assert then.source is Source.TYPED_THROUGH
    assert then.suggestions[0].text == "cd"
    assert len(engine.requests) == 1


def test_the_settings_are_in_order() -> None:
    assert THRESHOLDS["eager"] == 0.0
    assert THRESHOLDS["eager"] < THRESHOLDS["balanced"] < THRESHOLDS["reserved"] < 1
