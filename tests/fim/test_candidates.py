"""Several suggestions where they are asked for by hand, the likeliest first."""

import pytest

from engine.local import LocalEngine
from engine.settings import EngineSettings
from fim.completer import Completer
from fim.settings import FimSettings
from fim.snapshot import Snapshot, Trigger


@pytest.fixture(scope="module")
def place() -> Snapshot:
    text = "def f(x):\n    if x < 0:\n        raise Valu"
    return Snapshot("u", "python", text + "\n", len(text))


async def test_asked_by_hand_there_are_several_and_each_goes_on_from_what_is_typed(
    place: Snapshot,
) -> None:
    engine = LocalEngine(EngineSettings(model="demo"))
    try:
        completer = Completer(engine, FimSettings(prefetch=False))
        unasked = await completer.complete(place)
        found = await completer.complete(place, Trigger.INVOKED)
        again = await completer.complete(place, Trigger.INVOKED)
        one = await Completer(engine, FimSettings(prefetch=False, candidates=1)).complete(
            place, Trigger.INVOKED
        )
    finally:
        await engine.aclose()
    texts = [suggestion.text for suggestion in found.suggestions]
    assert 2 <= len(texts) <= 3
    assert len(set(texts)) == len(texts)
    assert all(text.startswith("eError") for text in texts)
    confidences = [suggestion.confidence for suggestion in found.suggestions]
    assert confidences == sorted(confidences, reverse=True)
    assert all(0 < confidence <= 1 for confidence in confidences)
    assert len({suggestion.id for suggestion in found.suggestions}) == len(texts)
    assert len(unasked.suggestions) <= 1
    assert [suggestion.text for suggestion in again.suggestions] == texts
    assert [suggestion.text for suggestion in one.suggestions] == [
        text for text in texts if text == one.suggestions[0].text
    ]
