"""A conversation stores questions and answers, also if an answer is stopped or fails."""

import asyncio
import contextlib
import stat
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from chat import answering
from chat import store as store_module
from chat.answering import StoredAnswer
from chat.asker import Asker, ChatSettings
from chat.attachments import Attachment, code_blocks, fenced
from chat.conversations import Conversations
from chat.store import ConversationStore
from engine.api import Chunk, EngineInfo, GenerationRequest
from engine.errors import EngineLostError, EngineStartError, PromptTooLongError, RequestError
from engine.scripted import ScriptedEngine


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "new folder" / "chats.sqlite3"


@pytest.fixture
def store(file: Path) -> ConversationStore:
    return ConversationStore(file)


@pytest.fixture
def chats(store: ConversationStore) -> Conversations:
    return Conversations(store)


def scripted(text: str, delay: float = 0.0, window: int = 100_000) -> ScriptedEngine:
    return ScriptedEngine(lambda _: text, delay, window)


def ignore(_: str) -> None:
    pass


def last_prompt(engine: ScriptedEngine) -> str:
    return engine.model_tokenizer.decode(engine.requests[-1].prompt, skip_special=False)


async def start_answer(
    chats: Conversations, id_: str, engine: ScriptedEngine
) -> asyncio.Task[StoredAnswer]:
    """Send a message and return the task once three pieces of the answer have arrived."""
    pieces: list[str] = []
    task = asyncio.create_task(chats.send(id_, "Go", [], Asker(engine), pieces.append))
    while len(pieces) < 3:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    return task


async def test_an_answer_is_streamed_and_stored(chats: Conversations, file: Path) -> None:
    conversation = await chats.create("file:///w")
    pieces: list[str] = []
    attachments = [Attachment("selection", "a.py:1-2", "x = 1\n", "python")]
    engine = scripted(" Fine.")
    answer = await chats.send(
        conversation.id, "How is this?", attachments, Asker(engine), pieces.append
    )
    assert "".join(pieces) == answer.turn.content == "Fine."
    assert "a.py:1-2:\n```python\nx = 1\n```\n\nHow is this?" in last_prompt(engine)
    stored = ConversationStore(file).get(conversation.id)  # another window
    assert [(turn.role, turn.content, turn.state) for turn in stored.turns] == [
        ("user", "How is this?", "whole"),
        ("assistant", "Fine.", "whole"),
    ]
    assert stored.turns[0].attachments == tuple(attachments)
    assert stored.title == "How is this?"


async def test_the_prompt_contains_the_conversation_so_far(chats: Conversations) -> None:
    conversation = await chats.create("w")
    engine = scripted("Yes.")
    asker = Asker(engine, ChatSettings(system="Be brief."))
    await chats.send(conversation.id, "One?", [], asker, ignore)
    await chats.send(conversation.id, "Two?", [], asker, ignore)
    assert last_prompt(engine).endswith(
        "Human: One?\n\nAssistant: Yes.\n\nHuman: Two?\n\nAssistant:"
    )
    assert "Be brief." in last_prompt(engine)


async def test_a_slash_command_is_stored_as_it_was_typed(chats: Conversations) -> None:
    conversation = await chats.create("w")
    engine = scripted("It adds.")
    await chats.send(conversation.id, "/explain briefly", [], Asker(engine), ignore)
    assert "Human: What does this code do? briefly\n" in last_prompt(engine)
    assert (await chats.get(conversation.id)).turns[0].content == "/explain briefly"


async def test_stopping_stores_the_partial_answer(chats: Conversations) -> None:
    conversation = await chats.create("w")
    engine = scripted("abcdefghijklmnopqrstuvwxyz", 0.02)
    sending = await start_answer(chats, conversation.id, engine)
    with pytest.raises(RequestError, match="being answered"):
        await chats.send(conversation.id, "And?", [], Asker(engine), ignore)
    await chats.stop(conversation.id)
    answer = await sending
    assert answer.turn.state == "stopped"
    assert answer.turn.content.startswith("abc")
    written = engine.tokens_written
    await asyncio.sleep(0.06)
    assert engine.tokens_written == written
    assert [turn.content for turn in (await chats.get(conversation.id)).turns] == [
        "Go",
        answer.turn.content,
    ]
    assert "*(stopped)*" in await chats.export(conversation.id)


async def test_cancelling_the_request_stops_the_engine_and_stores_the_partial_answer(
    chats: Conversations,
) -> None:
    conversation = await chats.create("w")
    engine = scripted("abcdefghijklmnopqrstuvwxyz", 0.02)
    sending = await start_answer(chats, conversation.id, engine)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert engine.stopped_early == 1
    turns = (await chats.get(conversation.id)).turns
    assert turns[1].state == "stopped"
    assert turns[1].content.startswith("abc")
    # The conversation can be used again.
    await chats.send(conversation.id, "Again", [], Asker(scripted("ok")), ignore)


@pytest.mark.parametrize("chunk_length", [1, 7, 400])
async def test_an_answer_that_loops_ends_and_is_stored_as_it_was_shown(
    chats: Conversations, chunk_length: int
) -> None:
    conversation = await chats.create("w")
    engine = _InChunks("\n Well:\n" + "I do not know.\n" * 500, chunk_length)
    pieces: list[str] = []
    answer = await chats.send(conversation.id, "Why?", [], Asker(engine), pieces.append)
    assert "".join(pieces) == "Well:\n" + "I do not know.\n" * 16
    assert answer.turn.state == "whole"
    assert answer.usage is None
    assert engine.stopped_early == 1
    stored = (await chats.get(conversation.id)).turns[-1]
    assert stored == answer.turn
    assert stored.content == "".join(pieces).strip()
    # The conversation goes on.
    again = await chats.send(conversation.id, "Again", [], Asker(scripted("ok")), ignore)
    assert again.turn.content == "ok"


async def test_a_streamed_answer_with_equal_rows_is_whole(chats: Conversations) -> None:
    conversation = await chats.create("w")
    text = "board = [\n" + "    [0, 0, 0, 0, 0, 0, 0, 0, 0],\n" * 9 + "]\nDone."
    answer = await chats.send(conversation.id, "Go", [], Asker(scripted(text)), ignore)
    assert answer.turn.content == text
    assert answer.usage is not None


class _InChunks(ScriptedEngine):
    """Joins the chunks of its output to larger ones."""

    def __init__(self, text: str, chunk_length: int) -> None:
        super().__init__(lambda _: text)
        self._chunk_length = chunk_length

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        text = ""
        async for chunk in super().generate(request):
            text += chunk.text
            if len(text) >= self._chunk_length or chunk.finish is not None:
                yield Chunk(text, finish=chunk.finish, usage=chunk.usage)
                text = ""


async def test_retrying_replaces_the_last_answer(chats: Conversations) -> None:
    conversation = await chats.create("w")
    await chats.send(conversation.id, "Q", [], Asker(scripted("bad")), ignore)
    await chats.retry(conversation.id, Asker(scripted("good")), ignore)
    assert [turn.content for turn in (await chats.get(conversation.id)).turns] == ["Q", "good"]


async def test_editing_deletes_the_turns_after_the_message(chats: Conversations) -> None:
    conversation = await chats.create("w")
    for text in ("A", "B", "C"):
        await chats.send(conversation.id, text, [], Asker(scripted(text.lower())), ignore)
    second = (await chats.get(conversation.id)).turns[2]
    engine = scripted("x")
    await chats.edit(conversation.id, second.id, "B2", Asker(engine), ignore)
    assert [turn.content for turn in (await chats.get(conversation.id)).turns] == [
        "A",
        "a",
        "B2",
        "x",
    ]
    assert "Human: B\n" not in last_prompt(engine)
    with pytest.raises(RequestError, match="no such message"):
        await chats.edit(conversation.id, second.id, "again", Asker(engine), ignore)


async def test_a_message_that_does_not_fit_changes_nothing(chats: Conversations) -> None:
    conversation = await chats.create("w")
    await chats.send(conversation.id, "A", [], Asker(scripted("a")), ignore)
    with pytest.raises(PromptTooLongError):
        await chats.retry(conversation.id, Asker(scripted("b", window=200)), ignore)
    with pytest.raises(RequestError, match="empty"):
        await chats.send(conversation.id, "  ", [], Asker(scripted("b")), ignore)
    assert [turn.content for turn in (await chats.get(conversation.id)).turns] == ["A", "a"]


async def test_a_long_conversation_reports_how_many_turns_are_left_out(
    chats: Conversations,
) -> None:
    conversation = await chats.create("w")
    engine = scripted("y" * 300, window=5000)
    asker = Asker(engine, ChatSettings(max_new_tokens=400))
    num_left_out = 0
    for number in range(12):
        answer = await chats.send(conversation.id, f"{number} " + "x" * 300, [], asker, ignore)
        num_left_out = answer.num_left_out
    assert num_left_out > 0
    assert "Human: 11 x" in last_prompt(engine)
    assert "Human: 0 x" not in last_prompt(engine)
    assert len((await chats.get(conversation.id)).turns) == 24  # nothing is missing on disk


class FailingEngine(ScriptedEngine):
    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        yield Chunk("half an ")
        raise EngineLostError("gone")


async def test_an_engine_that_fails_loses_nothing(chats: Conversations) -> None:
    conversation = await chats.create("w")
    with pytest.raises(EngineLostError):
        await chats.send(conversation.id, "Q", [], Asker(FailingEngine(lambda _: "")), ignore)
    turns = (await chats.get(conversation.id)).turns
    assert [(turn.content, turn.state) for turn in turns] == [("Q", "whole"), ("half an", "failed")]
    await chats.retry(conversation.id, Asker(scripted("whole")), ignore)
    assert [turn.content for turn in (await chats.get(conversation.id)).turns] == ["Q", "whole"]


class UnavailableEngine(ScriptedEngine):
    async def info(self) -> EngineInfo:
        raise EngineStartError("no engine")


class SlowEngine(ScriptedEngine):
    """Loads its model without end."""

    async def info(self) -> EngineInfo:
        await asyncio.sleep(1000)
        return await super().info()


async def contents(chats: Conversations, id_: str) -> list[str]:
    return [turn.content for turn in (await chats.get(id_)).turns]


@pytest.mark.parametrize("engine_class", [UnavailableEngine, SlowEngine])
async def test_a_question_is_stored_before_the_engine_is_asked(
    chats: Conversations, engine_class: type[ScriptedEngine]
) -> None:
    conversation = await chats.create("w")
    asker = Asker(engine_class(lambda _: ""))
    for text in ("A", "A", "B"):
        sending = asyncio.create_task(chats.send(conversation.id, text, [], asker, ignore))
        await asyncio.sleep(0.1)
        await chats.stop(conversation.id)
        with contextlib.suppress(EngineStartError):
            assert (await sending).turn.state == "stopped"
    assert await contents(chats, conversation.id) == ["A", "A", "B"]
    engine = scripted("b")
    await chats.retry(conversation.id, Asker(engine), ignore)
    assert await contents(chats, conversation.id) == ["A", "A", "B", "b"]
    # Many chat templates want an answer between two questions.
    assert last_prompt(engine).endswith("Human: A\n\nB\n\nAssistant:")


async def test_a_retry_keeps_the_old_answer_until_the_new_one_has_text(
    chats: Conversations,
) -> None:
    conversation = await chats.create("w")
    await chats.send(conversation.id, "Q", [], Asker(scripted("old")), ignore)
    retry = asyncio.create_task(chats.retry(conversation.id, Asker(scripted("new", 1000)), ignore))
    await asyncio.sleep(0.1)
    await chats.stop(conversation.id)
    assert (await retry).turn.state == "stopped"
    assert await contents(chats, conversation.id) == ["Q", "old"]


async def test_an_edit_that_does_not_fit_restores_the_turns(chats: Conversations) -> None:
    conversation = await chats.create("w")
    for text in ("A", "B"):
        await chats.send(conversation.id, text, [], Asker(scripted(text.lower())), ignore)
    before = await chats.get(conversation.id)
    asker = Asker(scripted("x", window=2000))
    with pytest.raises(PromptTooLongError):
        await chats.edit(conversation.id, before.turns[0].id, "x" * 5000, asker, ignore)
    assert await chats.get(conversation.id) == before
    with pytest.raises(RequestError, match="no command /test"):
        await chats.edit(conversation.id, before.turns[0].id, "/test", asker, ignore)
    assert await chats.get(conversation.id) == before


async def test_a_growing_answer_is_stored(
    chats: Conversations, store: ConversationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answering, "_SAVE_SECONDS", 0.05)
    conversation = await chats.create("w")
    sending = await start_answer(chats, conversation.id, scripted("abcdefghij" * 9, 0.02))
    await asyncio.sleep(0.5)
    stored = store.get(conversation.id).turns[1]
    assert (stored.state, stored.content[:3]) == ("failed", "abc")
    await chats.stop(conversation.id)
    turn = (await sending).turn
    assert turn.id == stored.id
    assert store.get(conversation.id).turns == (store.get(conversation.id).turns[0], turn)


async def test_a_message_that_arrives_with_the_end_of_an_answer_deletes_nothing(
    chats: Conversations,
) -> None:
    conversation = await chats.create("w")
    sent = ["0"]
    await chats.send(conversation.id, "0", [], Asker(scripted("x" * 5, 0.001)), ignore)
    for number in range(1, 9):
        first = asyncio.create_task(
            chats.send(conversation.id, f"{number}", [], Asker(scripted("x" * 5, 0.001)), ignore)
        )
        sent.append(f"{number}")
        while True:
            await asyncio.sleep(0)
            try:
                asker = Asker(scripted("y"))
                await chats.send(conversation.id, f"{number}b", [], asker, ignore)
                sent.append(f"{number}b")
                break
            except RequestError:
                continue
        await first
    assert (await contents(chats, conversation.id))[::2] == sent


async def test_continuing_extends_the_answer_in_place(chats: Conversations) -> None:
    conversation = await chats.create("w")
    sending = await start_answer(chats, conversation.id, scripted("one two three " * 9, 0.02))
    await chats.stop(conversation.id)
    stopped = (await sending).turn
    engine, pieces = scripted(" and the end."), list[str]()
    answer = await chats.continue_answer(conversation.id, Asker(engine), pieces.append)
    assert pieces != []
    assert answer.turn.content == stopped.content + " and the end."
    assert (answer.turn.id, answer.turn.state) == (stopped.id, "whole")
    assert (await chats.get(conversation.id)).turns[1] == answer.turn
    assert last_prompt(engine).endswith(f"Assistant: {stopped.content}")


@pytest.mark.parametrize("engine", [UnavailableEngine(lambda _: ""), scripted("x", window=520)])
async def test_an_answer_that_cannot_be_continued_stays(
    chats: Conversations, engine: ScriptedEngine
) -> None:
    conversation = await chats.create("w")
    asker = Asker(scripted("z" * 900), ChatSettings(max_new_tokens=100))
    answer = (await chats.send(conversation.id, "Q", [], asker, ignore)).turn
    assert answer.state == "cut off"
    with pytest.raises((EngineStartError, PromptTooLongError)) as caught:
        await chats.continue_answer(conversation.id, Asker(engine), ignore)
    assert "Attach less" not in str(caught.value)
    # Neither does a continuation without text change it.
    silent = asyncio.create_task(
        chats.continue_answer(conversation.id, Asker(scripted("x", 1000)), ignore)
    )
    await asyncio.sleep(0.1)
    await chats.stop(conversation.id)
    assert (await silent).turn == answer
    assert (await chats.get(conversation.id)).turns[1] == answer


async def test_a_loop_that_began_before_the_continuation_ends_it(chats: Conversations) -> None:
    conversation = await chats.create("w")
    line = "I do not know.\n"
    asker = Asker(scripted(line * 12), ChatSettings(max_new_tokens=len(line) * 12 - 1))
    await chats.send(conversation.id, "Q", [], asker, ignore)
    engine = _InChunks("\n" + line * 100, 1)
    answer = await chats.continue_answer(conversation.id, Asker(engine), ignore)
    assert answer.turn.content == (line * 16).strip()
    assert answer.turn.state == "whole"


async def test_conversations_belong_to_a_workspace_and_can_be_deleted(chats: Conversations) -> None:
    mine, other, _ = [await chats.create(workspace) for workspace in ("a", "b", "a")]
    for conversation in (mine, other):
        await chats.send(conversation.id, "secret words", [], Asker(scripted("x")), ignore)
    assert [summary.id for summary in await chats.list("a")] == [
        mine.id
    ]  # an empty conversation is not listed
    await chats.delete(mine.id)
    await chats.delete(mine.id)
    assert await chats.list("a") == []
    with pytest.raises(RequestError, match="no such conversation"):
        await chats.get(mine.id)
    await chats.clear("b")
    assert await chats.list("b") == []


async def test_deleted_text_is_erased_from_the_disk(chats: Conversations, file: Path) -> None:
    conversation = await chats.create("w")
    await chats.send(conversation.id, "zanzibar", [], Asker(scripted("x")), ignore)
    assert b"zanzibar" in file.read_bytes()
    await chats.delete(conversation.id)
    assert b"zanzibar" not in file.read_bytes()


def test_only_the_user_can_read_the_file(store: ConversationStore, file: Path) -> None:
    store.create("w")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_oldest_conversations_are_deleted(
    store: ConversationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "MAX_CONVERSATIONS", 3)
    conversations = [store.create("w") for _ in range(5)]
    other_workspace = store.create("v")
    for deleted in conversations[:2]:
        with pytest.raises(RequestError):
            store.get(deleted.id)
    for kept in (*conversations[2:], other_workspace):
        store.get(kept.id)


def test_a_fence_is_longer_than_the_fences_in_the_text() -> None:
    text = "a\n````\nb"
    assert code_blocks(fenced(text, "md")) == [text]


def test_the_last_code_block_may_be_unfinished() -> None:
    assert code_blocks("Sure:\n```python\na = 1\n```\nand\n```\nb") == ["a = 1", "b"]
    assert code_blocks("none") == []
