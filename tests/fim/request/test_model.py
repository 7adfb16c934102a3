"""Requests to the engine, and what is read from their output."""

from engine.scripted import ScriptedEngine
from fim.postprocess.truncate import Truncator, scope_of
from fim.request.model import FimModel, RequestOptions
from fim.settings import FimSettings
from fim.snapshot import Snapshot


async def test_a_first_token_may_open_a_block() -> None:
    engine = ScriptedEngine(lambda _: "\n    b()\nc()\n")
    model = FimModel(engine, FimSettings(token_healing=False))
    snapshot = Snapshot("u", "python", "if a\n", 4)
    truncator = Truncator(snapshot, scope_of(snapshot))
    (colon,) = engine.model_tokenizer.encode(":")
    options = RequestOptions(first_token=colon)
    output = await model.generate(snapshot, truncator, options, lambda _: None)
    assert output.text == ":\n    b()"
