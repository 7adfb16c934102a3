"""What is made ready before it is asked for."""

import asyncio
from collections.abc import AsyncGenerator
from string import ascii_letters

import pytest

from engine.api import Chunk, FinishReason, GenerationRequest, Priority, TokenLogprob, Usage
from engine.scripted import ScriptedEngine
from fim.completer import Completer
from fim.request.prefetch import indent_unit, snapshot_after_accept
from fim.settings import FimSettings
from fim.snapshot import Snapshot, Source, Suggestion, Trigger


def at_bar(text: str) -> Snapshot:
    cursor = text.index("|")
    return Snapshot("u", "python", text[:cursor] + text[cursor + 1 :], cursor)


def accepted(text: str, suggestion: str) -> str | None:
    snapshot = at_bar(text)
    one = Suggestion("i", suggestion, snapshot.cursor, snapshot.cursor, Source.MODEL)
    then = snapshot_after_accept(snapshot, one)
    return None if then is None else f"{then.before}|{then.after}"


@pytest.mark.parametrize(
    ("text", "suggestion", "expected"),
    [
        ("def f():\n    x = |\ny", "1", "def f():\n    x = 1\n    |\ny"),
        ("def f(|\n    a\n", "x):", "def f(x):\n    |\n    a\n"),
        ("if a:\n\tif b|\n", ":", "if a:\n\tif b:\n\t\t|\n"),
        ("x = |\r\ny\r\n", "1", "x = 1\r\n|\r\ny\r\n"),
        ("if a:\n  b\nif c|\n", ":\n  d = 2", "if a:\n  b\nif c:\n  d = 2\n  |\n"),
        ("f(|)\n", "a", None),  # text is left on the line
    ],
)
def test_where_the_next_line_begins(text: str, suggestion: str, expected: str | None) -> None:
    assert accepted(text, suggestion) == expected


def test_the_step_that_a_file_indents_by() -> None:
    assert indent_unit("a\n  b\n    c\nd\n  e\n") == "  "
    assert indent_unit("a\n\tb\n") == "\t"
    assert indent_unit("") == "    "


def two_lines() -> ScriptedEngine:
    first = {4: "1\n"}
    return ScriptedEngine(lambda request: first.get(request.priority * 4 + 4, "y = 2\n"))


async def landed(engine: ScriptedEngine, requests: int) -> None:
    for _ in range(200):
        if len(engine.requests) >= requests:
            break
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.05)
    assert len(engine.requests) == requests


async def test_the_next_line_is_there_when_the_suggestion_is_accepted() -> None:
    engine = two_lines()
    completer = Completer(engine)
    result = await completer.complete(at_bar("x = |"))
    assert result.suggestions[0].text == "1"
    await landed(engine, 2)
    assert [one.priority for one in engine.requests] == [Priority.COMPLETION, Priority.PREFETCH]
    # Accepted: nothing is to be added there, and nobody is asked.
    done = await completer.complete(at_bar("x = 1|"))
    assert (done.suggestions, done.source) == ((), Source.TYPED_THROUGH)
    then = await completer.complete(at_bar("x = 1\n|"))
    assert then.source is Source.CACHE
    assert then.suggestions[0].text == "y = 2"
    await landed(engine, 3)  # and the line after that is made ready


async def test_prefetching_stops_when_something_else_is_wanted() -> None:
    engine = ScriptedEngine(lambda _: " + ".join(ascii_letters) + "\n", 0.002)
    completer = Completer(engine, FimSettings(candidates=1))
    await completer.complete(at_bar("x = |"), Trigger.INVOKED)
    await landed(engine, 2)
    written = engine.tokens_written
    result = await completer.complete(at_bar("zz = |"))
    assert result.source is Source.MODEL
    assert engine.stopped_early >= 1
    assert engine.tokens_written > written


async def test_it_can_be_switched_off() -> None:
    engine = two_lines()
    await Completer(engine, FimSettings(prefetch=False)).complete(at_bar("x = |"))
    await landed(engine, 1)


async def test_the_old_suggestion_is_the_engines_draft_when_something_changed() -> None:
    engine = ScriptedEngine(lambda _: "total + 1\n")
    completer = Completer(engine, FimSettings(prefetch=False))
    await completer.complete(at_bar("a\nx = |\n"))
    await completer.complete(at_bar("b\nx = |\n"))  # changed above: the old answer may be wrong
    first, second = engine.requests
    assert first.draft_tokens == ()
    assert engine.model_tokenizer.decode(second.draft_tokens) == " total + 1"
    assert second.forced_prefix == " "


async def test_the_draft_is_of_the_users_line_whatever_was_made_ready_since() -> None:
    engine = two_lines()
    completer = Completer(engine)
    await completer.complete(at_bar("a\nx = |\n"))
    await landed(engine, 2)
    await completer.complete(at_bar("b\nx = |\n"))
    asked = [one for one in engine.requests if one.priority is Priority.COMPLETION]
    assert engine.model_tokenizer.decode(asked[-1].draft_tokens) == " 1"


class Unsure(ScriptedEngine):
    """Sure of a first word, and of nothing behind it."""

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        for text, logprob in ((request.forced_prefix, 0.0), ("total", -0.1), (" + more\n", -9.0)):
            yield Chunk(text, (65,), (TokenLogprob(65, logprob),))
        yield Chunk("", finish=FinishReason.STOP, usage=Usage(1, 3, 0, 0.0, 0.0))


async def test_nothing_is_made_ready_behind_a_mere_beginning() -> None:
    engine = Unsure(lambda _: "")
    result = await Completer(engine).complete(at_bar("x = |"))
    assert result.suggestions[0].text == "total"
    await landed(engine, 1)
