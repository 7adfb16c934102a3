"""The half-typed word is left to the model, whose answer begins with it."""

import asyncio

import pytest

from engine.local import LocalEngine
from engine.scripted import ScriptedEngine
from engine.settings import EngineSettings
from fim.completer import Completer
from fim.prompt.token_healing import partial_token
from fim.settings import FimSettings
from fim.snapshot import Snapshot, Trigger


@pytest.mark.parametrize(
    ("line", "half"),
    [
        ("impo", "impo"),
        ("x = fo", " fo"),
        ("x = ", " "),
        ("f(", "("),
        ("self._na", "na"),
        ("self._", "._"),
        ("a  b", " b"),
        ("    ", ""),
        ("", ""),
        ("x = 12", ""),
        ("größ", "größ"),
        ("x = '🎉", " '🎉"),
        ("\tre", "re"),
        ("x" * 100, "x" * 40),
    ],
)
def test_what_may_be_half_a_token(line: str, half: str) -> None:
    assert partial_token(line) == half
    assert line.endswith(half)


def test_the_prompt_ends_before_it_and_the_suggestion_begins_behind_it() -> None:
    engine = ScriptedEngine(lambda _: "rt os\n")
    completer = Completer(engine, FimSettings(prefetch=False, eagerness="eager"))
    result = asyncio.run(completer.complete(Snapshot("u", "python", "a = 1\nimpo\n", 10)))
    (request,) = engine.requests
    assert request.forced_prefix == "impo"
    assert "impo" not in engine.model_tokenizer.decode(request.prompt)
    (one,) = result.suggestions
    assert one.text == "rt os"
    assert one.confidence > 0.9  # that of the suggestion, not of what was typed


async def test_a_word_cut_where_no_token_ends_is_still_completed() -> None:
    engine = LocalEngine(EngineSettings(model="demo"))
    text = "def f(x):\n    if x < 0:\n        raise Valu"
    snapshot = Snapshot("u", "python", text + "\n", len(text))
    found = {}
    try:
        for healing in (True, False):
            completer = Completer(engine, FimSettings(token_healing=healing, candidates=1))
            result = await completer.complete(snapshot, Trigger.INVOKED)
            found[healing] = [one.text for one in result.suggestions]
    finally:
        await engine.aclose()
    assert found[True][0].startswith("eError(")
    assert not found[False][0].startswith("eError(")


def test_without_healing_the_prompt_has_all_that_was_typed() -> None:
    engine = ScriptedEngine(lambda _: "rt os\n")
    completer = Completer(engine, FimSettings(prefetch=False, token_healing=False))
    asyncio.run(completer.complete(Snapshot("u", "python", "impo\n", 4)))
    (request,) = engine.requests
    assert request.forced_prefix == ""
    assert "impo" in engine.model_tokenizer.decode(request.prompt)
