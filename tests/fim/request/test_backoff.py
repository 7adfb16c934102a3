"""Requests pause within a word for which the model has no suggestion."""

import pytest

from engine.scripted import ScriptedEngine
from fim.completer import Completer
from fim.settings import FimSettings
from fim.snapshot import CompletionResult, Snapshot, Source, Trigger


async def complete_each(
    lines: list[str], trigger: Trigger = Trigger.AUTOMATIC, **settings: int
) -> tuple[list[CompletionResult], int]:
    """Complete at the end of each line in turn, with a model that has no suggestion.

    Return the results and the number of requests.
    """
    completer = Completer(ScriptedEngine(lambda _: "\n"), FimSettings(**settings))  # type: ignore[arg-type]
    results = []
    for line in lines:
        snapshot = Snapshot("file:///a.py", "python", line + "\n", len(line))
        results.append(await completer.complete(snapshot, trigger))
    return results, completer.model.num_requests


WORD = ["x = n", "x = ne", "x = new", "x = newn", "x = newna"]


async def test_requests_pause_after_two_misses_in_a_word() -> None:
    results, num_requests = await complete_each(WORD)
    assert num_requests == 2
    assert [result.source for result in results[2:]] == [Source.NONE] * 3
    assert "word" in results[-1].explanation


@pytest.mark.parametrize("line", ["x = newna ", "x = newna(", "x = newna.a", "y = n", "x = other"])
async def test_requests_continue_after_the_word(line: str) -> None:
    _, num_requests = await complete_each([*WORD, line])
    assert num_requests == 3


async def test_explicit_requests_do_not_pause() -> None:
    _, num_requests = await complete_each(WORD, Trigger.INVOKED, candidates=1)
    assert num_requests == len(WORD)


async def test_the_backoff_can_be_disabled() -> None:
    _, num_requests = await complete_each(WORD, max_misses=0)
    assert num_requests == len(WORD)


async def test_a_visible_suggestion_resets_the_count() -> None:
    outputs = iter(["\n", "ewname\n", "\n", "\n", "\n"])
    completer = Completer(ScriptedEngine(lambda _: next(outputs)), FimSettings(eagerness="eager"))
    for line in ("n", "ne", "new", "newx", "newxy", "newxyz"):
        await completer.complete(Snapshot("file:///a.py", "python", line + "\n", len(line)))
    assert completer.model.num_requests == 4
