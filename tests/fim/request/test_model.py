"""Requests to the engine, and what is read from their output."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace

import pytest

from engine.api import Chunk, EngineInfo, GenerationRequest, Memory, Priority
from engine.errors import EngineLostError, EngineReplacedError, UnsupportedModelError
from engine.scripted import ScriptedEngine, byte_tokenizer
from engine.tokenizer import Tokenizer
from fim.completer import Completer
from fim.postprocess.truncate import Truncator, scope_of
from fim.request.model import FimModel, RequestOptions
from fim.settings import FimSettings
from fim.snapshot import Passage, Snapshot


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


@dataclass
class FailingEngine(ScriptedEngine):
    """An engine whose first requests fail with these errors, each after its chunks."""

    errors: list[tuple[list[Chunk], Exception]] = field(default_factory=list)
    num_tokenizers_read: int = 0

    async def tokenizer(self, adapter: str | None = None) -> Tokenizer:
        self.num_tokenizers_read += 1
        return await super().tokenizer(adapter)

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        if self.errors:
            chunks, error = self.errors.pop(0)
            for chunk in chunks:
                yield chunk
            raise error
        async for chunk in super().stream(request):
            yield chunk


LOST = EngineLostError("lost")
SNAPSHOT = Snapshot("u", "python", "x = ", 4)


async def generate(engine: FailingEngine, priority: Priority = Priority.COMPLETION) -> str:
    model = FimModel(engine, FimSettings())
    truncator = Truncator(SNAPSHOT, scope_of(SNAPSHOT))
    options = RequestOptions(priority=priority)
    return (await model.generate(SNAPSHOT, truncator, options, lambda _: None)).text


async def test_a_key_is_answered_although_the_engine_ends_in_the_middle_of_its_output() -> None:
    engine = FailingEngine(lambda _: "12\n", errors=[([Chunk("9", (1,))], LOST)])
    assert await generate(engine) == "12"


async def test_a_request_that_ends_engines_is_made_twice_only() -> None:
    errors: list[tuple[list[Chunk], Exception]] = [([Chunk("9", (1,))], LOST)] * 3
    engine = FailingEngine(lambda _: "12\n", errors=errors)
    with pytest.raises(EngineLostError):
        await generate(engine)
    assert len(engine.errors) == 1


@pytest.mark.parametrize(
    ("chunks", "priority"),
    [([], Priority.COMPLETION), ([Chunk("9", (1,))], Priority.PREFETCH)],
    ids=["the client has tried again", "a prefetch"],
)
async def test_other_requests_are_not_repeated(chunks: list[Chunk], priority: Priority) -> None:
    engine = FailingEngine(lambda _: "12\n", errors=[(chunks, LOST)])
    with pytest.raises(EngineLostError):
        await generate(engine, priority)


async def test_another_model_gets_a_prompt_of_its_own() -> None:
    error = EngineReplacedError("another model")
    engine = FailingEngine(lambda _: "12\n", errors=[([], error)])
    assert await generate(engine) == "12"
    assert engine.num_tokenizers_read == 2


class MixingEngine(ScriptedEngine):
    """An engine that uses passages of the project, as ours does."""

    async def info(self) -> EngineInfo:
        return replace(await super().info(), uses_passages=True)


async def memory_of(
    snapshot: Snapshot, options: RequestOptions | None = None, **settings: object
) -> Memory | None:
    """Return the memory of the request for a snapshot."""
    engine = MixingEngine(lambda _: "x\n")
    model = FimModel(engine, FimSettings(**settings))  # type: ignore[arg-type]
    truncator = Truncator(snapshot, scope_of(snapshot))
    await model.generate(snapshot, truncator, options or RequestOptions(), lambda _: None)
    return engine.requests[0].memory


PASSAGES = (Passage("a\r\nb = ", "c\r\n", 4),)


async def test_passages_and_the_text_around_the_cursor_are_sent() -> None:
    snapshot = Snapshot("u", "python", "first\r\nb = cd\r\nlast\r\n", 12, passages=PASSAGES)
    memory = await memory_of(snapshot)
    assert memory is not None
    # The half-typed word is not part of the text before the output.
    assert memory.before == "first\nb ="
    assert memory.passages == ("first\nb =", "d\nlast\n", "a\nb = c\n")
    assert (memory.is_mixed, memory.is_draft) == (True, True)


async def test_a_given_first_token_is_part_of_the_text_before_the_output() -> None:
    snapshot = Snapshot("u", "python", "b ", 2, passages=PASSAGES)
    (token,) = ScriptedEngine(lambda _: "").model_tokenizer.encode("=")
    memory = await memory_of(snapshot, RequestOptions(first_token=token), token_healing=False)
    assert memory is not None
    assert memory.before == "b ="


async def test_no_memory_is_sent_if_nothing_would_use_it() -> None:
    snapshot = Snapshot("u", "python", "b = ", 4, passages=PASSAGES)
    assert await memory_of(replace(snapshot, passages=())) is None
    assert await memory_of(snapshot, memory_mixing=False, memory_drafts=False) is None
    drafts = await memory_of(snapshot, memory_mixing=False)
    assert drafts is not None
    assert (drafts.is_mixed, drafts.is_draft) == (False, True)
    engine = ScriptedEngine(lambda _: "x\n")  # says that it uses no passages
    model = FimModel(engine, FimSettings())
    truncator = Truncator(snapshot, scope_of(snapshot))
    await model.generate(snapshot, truncator, RequestOptions(), lambda _: None)
    assert engine.requests[0].memory is None


async def test_the_project_is_asked_for_what_the_settings_use() -> None:
    asked: list[bool] = []

    async def provider(snapshot: Snapshot, *, excerpts: bool, passages: bool) -> Snapshot:
        asked.append(passages)
        return snapshot

    for is_on in (True, False):
        settings = FimSettings(prefetch=False, project_memory=is_on)
        completer = Completer(ScriptedEngine(lambda _: "x\n"), settings, provider)
        await completer.complete(Snapshot("u", "python", "b = ", 4))
    assert asked == [True, False]
