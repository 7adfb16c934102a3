"""A word in which the model finds nothing is left alone, and only that."""

import pytest

from engine.scripted import ScriptedEngine
from fim.completer import Completer
from fim.settings import FimSettings
from fim.snapshot import CompletionResult, Snapshot, Source, Trigger


async def at_each(
    lines: list[str], trigger: Trigger = Trigger.AUTOMATIC, **settings: int
) -> tuple[list[CompletionResult], int]:
    """Complete at the end of each text in turn, with a model that has nothing to say."""
    completer = Completer(ScriptedEngine(lambda _: "\n"), FimSettings(**settings))  # type: ignore[arg-type]
    found = []
    for line in lines:
        snapshot = Snapshot("file:///a.py", "python", line + "\n", len(line))
        found.append(await completer.complete(snapshot, trigger))
    return found, completer.model.num_requests


WORD = ["x = n", "x = ne", "x = new", "x = newn", "x = newna"]


async def test_after_two_answers_in_vain_the_word_is_left_alone() -> None:
    found, asked = await at_each(WORD)
    assert asked == 2
    assert [one.source for one in found[2:]] == [Source.NONE] * 3
    assert "word" in found[-1].explanation


@pytest.mark.parametrize("then", ["x = newna ", "x = newna(", "x = newna.a", "y = n", "x = other"])
async def test_behind_the_word_it_is_asked_again(then: str) -> None:
    _, asked = await at_each([*WORD, then])
    assert asked == 3


async def test_who_asks_by_hand_is_answered() -> None:
    _, asked = await at_each(WORD, Trigger.INVOKED, candidates=1)
    assert asked == len(WORD)


async def test_it_can_be_left_out() -> None:
    _, asked = await at_each(WORD, max_misses=0)
    assert asked == len(WORD)


async def test_an_answer_that_is_shown_counts_anew() -> None:
    answers = iter(["\n", "ewname\n", "\n", "\n", "\n"])
    completer = Completer(ScriptedEngine(lambda _: next(answers)), FimSettings(eagerness="eager"))
    for line in ("n", "ne", "new", "newx", "newxy", "newxyz"):
        await completer.complete(Snapshot("file:///a.py", "python", line + "\n", len(line)))
    assert completer.model.num_requests == 4
