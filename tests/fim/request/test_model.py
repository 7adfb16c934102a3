"""Requests to the engine, and what is read from their output."""

import pytest

from engine.errors import UnsupportedModelError
from engine.scripted import ScriptedEngine, byte_tokenizer
from fim.completer import Completer
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


def without_fim_tokens(output: str) -> ScriptedEngine:
    """Return an engine whose model has no tokens for fill-in-the-middle."""
    return ScriptedEngine(lambda _: output, model_tokenizer=byte_tokenizer(("<|endoftext|>",)))


async def test_a_model_without_fim_tokens_sees_only_the_text_before_the_cursor() -> None:
    engine = without_fim_tokens(" + 1)  # sum\nafter\n")
    completer = Completer(engine, FimSettings(prefetch=False, eagerness="eager"))
    text = "f(a, tot)  # sum\nafter\n"
    result = await completer.complete(Snapshot("u", "python", text, 8))
    (request,) = engine.requests
    assert engine.model_tokenizer.decode(request.prompt) == "f(a,"
    assert request.forced_prefix == " tot"
    assert engine.model_tokenizer.end_of_text_id in request.stop_ids
    (suggestion,) = result.suggestions
    # The text right of the cursor is replaced, not doubled.
    assert text[: suggestion.replace_start] + suggestion.text + text[suggestion.replace_end :] == (
        "f(a, tot + 1)  # sum\nafter\n"
    )


async def test_a_copy_of_the_lines_below_is_not_suggested_left_to_right() -> None:
    engine = without_fim_tokens("    return total\n")
    completer = Completer(engine, FimSettings(prefetch=False, eagerness="eager"))
    text = "def f():\n    total = 1\n\n    return total\n"
    result = await completer.complete(Snapshot("u", "python", text, text.index("\n    return")))
    assert not result.suggestions


async def test_a_model_without_fim_tokens_completes_the_first_line_of_a_document() -> None:
    engine = without_fim_tokens("rt os\n")
    completer = Completer(engine, FimSettings(prefetch=False, eagerness="eager"))
    result = await completer.complete(Snapshot("u", "python", "impo", 4))
    assert engine.requests[0].prompt
    assert result.suggestions[0].text == "rt os"


async def test_a_gap_that_needs_the_text_after_it_is_refused_without_fim_tokens() -> None:
    model = FimModel(without_fim_tokens("text"), FimSettings())
    snapshot = Snapshot("u", "python", "ab", 1)
    assert await model.fill(snapshot) == "text"
    with pytest.raises(UnsupportedModelError, match="no fill-in-the-middle tokens"):
        await model.fill(snapshot, needs_suffix=True)
    with_tokens = FimModel(ScriptedEngine(lambda _: "text"), FimSettings())
    assert await with_tokens.fill(snapshot, needs_suffix=True) == "text"
