"""An explicit request gets several suggestions, the most probable first."""

import pytest

from engine.local import LocalEngine
from engine.settings import EngineSettings
from fim.completer import Completer
from fim.settings import FimSettings
from fim.snapshot import Snapshot, Trigger


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    text = "def f(x):\n    if x < 0:\n        raise Valu"
    return Snapshot("u", "python", text + "\n", len(text))


async def test_an_explicit_request_gets_several_suggestions_that_continue_the_typed_text(
    snapshot: Snapshot,
) -> None:
    engine = LocalEngine(EngineSettings(model="demo"))
    try:
        completer = Completer(engine, FimSettings(prefetch=False))
        automatic = await completer.complete(snapshot)
        invoked = await completer.complete(snapshot, Trigger.INVOKED)
        repeated = await completer.complete(snapshot, Trigger.INVOKED)
        completer = Completer(engine, FimSettings(prefetch=False, candidates=1))
        single = await completer.complete(snapshot, Trigger.INVOKED)
    finally:
        await engine.aclose()
    texts = [suggestion.text for suggestion in invoked.suggestions]
    assert 2 <= len(texts) <= 3
    assert len(set(texts)) == len(texts)
    assert texts[0].startswith("eError")
    assert all(text.startswith("e") for text in texts)
    confidences = [suggestion.confidence for suggestion in invoked.suggestions]
    assert confidences == sorted(confidences, reverse=True)
    assert all(0 < confidence <= 1 for confidence in confidences)
    assert len({suggestion.id for suggestion in invoked.suggestions}) == len(texts)
    assert len(automatic.suggestions) <= 1
    assert [suggestion.text for suggestion in repeated.suggestions] == texts
    assert [suggestion.text for suggestion in single.suggestions] == [
        text for text in texts if text == single.suggestions[0].text
    ]
