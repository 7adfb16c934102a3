"""Prefetching of the next line, and the previous suggestion as draft tokens."""

import asyncio
from collections.abc import AsyncGenerator
from string import ascii_letters

import pytest

from engine.api import Chunk, FinishReason, GenerationRequest, Priority, TokenLogprob, Usage
from engine.scripted import ScriptedEngine
from fim.completer import Completer
from fim.postprocess.indentation import indent_unit
from fim.request.prefetch import snapshot_after_accept
from fim.settings import FimSettings
from fim.snapshot import Snapshot, Source, Suggestion, Trigger


def at_bar(text: str) -> Snapshot:
    cursor = text.index("|")
    return Snapshot("u", "python", text[:cursor] + text[cursor + 1 :], cursor)


def next_line(text: str, suggested: str) -> str | None:
    snapshot = at_bar(text)
    suggestion = Suggestion("i", suggested, snapshot.cursor, snapshot.cursor, Source.MODEL)
    accepted = snapshot_after_accept(snapshot, suggestion)
    return None if accepted is None else f"{accepted.before}|{accepted.after}"


@pytest.mark.parametrize(
    ("text", "suggested", "expected"),
    [
        ("def f():\n    x = |\ny", "1", "def f():\n    x = 1\n    |\ny"),
        ("def f(|\n    a\n", "x):", "def f(x):\n    |\n    a\n"),
        ("if a:\n\tif b|\n", ":", "if a:\n\tif b:\n\t\t|\n"),
        ("x = |\r\ny\r\n", "1", "x = 1\r\n|\r\ny\r\n"),
        ("if a:\n  b\nif c|\n", ":\n  d = 2", "if a:\n  b\nif c:\n  d = 2\n  |\n"),
        ("f(|)\n", "a", None),  # text right of the cursor
    ],
)
def test_where_the_next_line_begins(text: str, suggested: str, expected: str | None) -> None:
    assert next_line(text, suggested) == expected


def test_the_indentation_unit_of_a_file() -> None:
    assert indent_unit("a\n  b\n    c\nd\n  e\n") == "  "
    assert indent_unit("a\n\tb\n") == "\t"
    assert indent_unit("") == "    "
    # Lines that end several levels do not count.
    levels = "a\n b\n      c\nd\n  e\n      f\ng\n   h\n      i\nj\n"
    assert indent_unit(levels) == "   "


def engine_with_two_lines() -> ScriptedEngine:
    first = {4: "1\n"}
    return ScriptedEngine(lambda request: first.get(request.priority * 4 + 4, "y = 2\n"))


async def wait_for_requests(engine: ScriptedEngine, count: int) -> None:
    for _ in range(200):
        if len(engine.requests) >= count:
            break
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.05)
    assert len(engine.requests) == count


async def test_the_next_line_is_cached_when_the_suggestion_is_accepted() -> None:
    engine = engine_with_two_lines()
    completer = Completer(engine)
    result = await completer.complete(at_bar("x = |"))
    assert result.suggestions[0].text == "1"
    await wait_for_requests(engine, 2)
    assert [request.priority for request in engine.requests] == [
        Priority.COMPLETION,
        Priority.PREFETCH,
    ]
    # After accepting there is nothing to add, and no request is needed.
    accepted = await completer.complete(at_bar("x = 1|"))
    assert (accepted.suggestions, accepted.source) == ((), Source.TYPED_THROUGH)
    following = await completer.complete(at_bar("x = 1\n|"))
    assert following.source is Source.CACHE
    assert following.suggestions[0].text == "y = 2"
    await wait_for_requests(engine, 3)  # the line after that is prefetched


async def test_a_request_stops_the_prefetch() -> None:
    engine = ScriptedEngine(lambda _: " + ".join(ascii_letters) + "\n", 0.002)
    completer = Completer(engine, FimSettings(candidates=1))
    await completer.complete(at_bar("x = |"), Trigger.INVOKED)
    await wait_for_requests(engine, 2)
    written = engine.tokens_written
    result = await completer.complete(at_bar("zz = |"))
    assert result.source is Source.MODEL
    assert engine.stopped_early >= 1
    assert engine.tokens_written > written


async def test_prefetching_can_be_disabled() -> None:
    engine = engine_with_two_lines()
    completer = Completer(engine, FimSettings(prefetch=False))
    await completer.complete(at_bar("x = |"))
    await completer.idle()  # a prefetch would be in flight until it has waited and finished
    assert len(engine.requests) == 1


async def test_the_previous_suggestion_becomes_draft_tokens() -> None:
    engine = ScriptedEngine(lambda _: "total + 1\n")
    completer = Completer(engine, FimSettings(prefetch=False))
    await completer.complete(at_bar("a\nx = |\n"))
    await completer.complete(
        at_bar("b\nx = |\n")
    )  # the text above changed, so the cache does not apply
    first, second = engine.requests
    assert first.draft_tokens == ()
    assert engine.model_tokenizer.decode(second.draft_tokens) == " total + 1"
    assert second.forced_prefix == " "


async def test_a_prefetch_does_not_change_the_draft_tokens() -> None:
    engine = engine_with_two_lines()
    completer = Completer(engine)
    await completer.complete(at_bar("a\nx = |\n"))
    await wait_for_requests(engine, 2)
    await completer.complete(at_bar("b\nx = |\n"))
    requests = [request for request in engine.requests if request.priority is Priority.COMPLETION]
    assert engine.model_tokenizer.decode(requests[-1].draft_tokens) == " 1"


class UncertainEngine(ScriptedEngine):
    """An engine that is certain of the first word only."""

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        for text, logprob in ((request.forced_prefix, 0.0), ("total", -0.1), (" + more\n", -9.0)):
            yield Chunk(text, (65,), (TokenLogprob(65, logprob),))
        yield Chunk("", finish=FinishReason.STOP, usage=Usage(1, 3, 0, 0.0, 0.0))


async def test_nothing_is_prefetched_after_a_partial_line() -> None:
    engine = UncertainEngine(lambda _: "")
    result = await Completer(engine).complete(at_bar("x = |"))
    assert result.suggestions[0].text == "total"
    await wait_for_requests(engine, 1)
