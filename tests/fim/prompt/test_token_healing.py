"""The prompt leaves out the partial token, and the output begins with it."""

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
    ("line", "partial"),
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
def test_the_partial_token_of_a_line(line: str, partial: str) -> None:
    assert partial_token(line) == partial
    assert line.endswith(partial)


def test_the_prompt_ends_before_the_partial_token_and_the_suggestion_begins_after_it() -> None:
    engine = ScriptedEngine(lambda _: "rt os\n")
    completer = Completer(engine, FimSettings(prefetch=False, eagerness="eager"))
    result = asyncio.run(completer.complete(Snapshot("u", "python", "a = 1\nimpo\n", 10)))
    (request,) = engine.requests
    assert request.forced_prefix == "impo"
    assert "impo" not in engine.model_tokenizer.decode(request.prompt)
    (suggestion,) = result.suggestions
    assert suggestion.text == "rt os"
    assert suggestion.confidence > 0.9  # the confidence does not include the typed part


async def test_a_word_that_breaks_off_within_a_token_is_completed() -> None:
    engine = LocalEngine(EngineSettings(model="demo"))
    text = "def f(x):\n    if x < 0:\n        raise Valu"
    snapshot = Snapshot("u", "python", text + "\n", len(text))
    texts = {}
    try:
        for healing in (True, False):
            completer = Completer(engine, FimSettings(token_healing=healing, candidates=1))
            result = await completer.complete(snapshot, Trigger.INVOKED)
            texts[healing] = [suggestion.text for suggestion in result.suggestions]
    finally:
        await engine.aclose()
    assert texts[True][0].startswith("eError")
    assert not texts[False][0].startswith("eError")


def test_without_token_healing_the_prompt_includes_the_partial_token() -> None:
    engine = ScriptedEngine(lambda _: "rt os\n")
    completer = Completer(engine, FimSettings(prefetch=False, token_healing=False))
    asyncio.run(completer.complete(Snapshot("u", "python", "impo\n", 4)))
    (request,) = engine.requests
    assert request.forced_prefix == ""
    assert "impo" in engine.model_tokenizer.decode(request.prompt)
