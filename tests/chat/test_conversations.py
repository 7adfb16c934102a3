"""A conversation keeps what was said, whatever becomes of the answer."""

import asyncio
import sqlite3
import stat
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from chat import store as storing
from chat.asker import Asker, ChatSettings
from chat.attachments import Attachment, code_blocks, fenced
from chat.conversations import Conversations
from chat.store import ConversationStore
from engine.api import Chunk, GenerationRequest
from engine.errors import EngineLostError, PromptTooLongError, RequestError, StarcoderError
from engine.scripted import ScriptedEngine


@pytest.fixture
def store(tmp_path: Path) -> ConversationStore:
    return ConversationStore(tmp_path / "deep" / "chats.sqlite3")


@pytest.fixture
def chats(store: ConversationStore) -> Conversations:
    return Conversations(store)


def says(text: str, delay: float = 0.0, window: int = 100_000) -> ScriptedEngine:
    return ScriptedEngine(lambda _: text, delay, window)


def nothing(_: str) -> None:
    pass


def prompt_of(engine: ScriptedEngine, at: int = -1) -> str:
    return engine.model_tokenizer.decode(engine.requests[at].prompt, skip_special=False)


async def test_what_is_said_is_streamed_and_kept(
    chats: Conversations, store: ConversationStore
) -> None:
    talk = await chats.create("file:///w")
    pieces: list[str] = []
    attached = [Attachment("selection", "a.py:1-2", "x = 1\n", "python")]
    engine = says(" Fine.")
    reply = await chats.send(talk.id, "How is this?", attached, Asker(engine), pieces.append)
    assert "".join(pieces) == reply.turn.content == "Fine."
    assert "a.py:1-2:\n```python\nx = 1\n```\n\nHow is this?" in prompt_of(engine)
    kept = ConversationStore(store._file).get(talk.id)  # another window
    assert [(one.role, one.content, one.state) for one in kept.turns] == [
        ("user", "How is this?", "whole"),
        ("assistant", "Fine.", "whole"),
    ]
    assert kept.turns[0].attachments == tuple(attached)
    assert kept.title == "How is this?"


async def test_the_model_is_told_what_was_said_before(chats: Conversations) -> None:
    talk = await chats.create("w")
    engine = says("Yes.")
    asker = Asker(engine, ChatSettings(system="Be brief."))
    await chats.send(talk.id, "One?", [], asker, nothing)
    await chats.send(talk.id, "Two?", [], asker, nothing)
    assert prompt_of(engine).endswith("Human: One?\n\nAssistant: Yes.\n\nHuman: Two?\n\nAssistant:")
    assert "Be brief." in prompt_of(engine)


async def test_a_slash_command_is_kept_as_it_was_typed(chats: Conversations) -> None:
    talk = await chats.create("w")
    engine = says("It adds.")
    await chats.send(talk.id, "/explain briefly", [], Asker(engine), nothing)
    assert "Human: What does this code do? briefly\n" in prompt_of(engine)
    assert (await chats.get(talk.id)).turns[0].content == "/explain briefly"


async def test_stopping_keeps_what_was_written(chats: Conversations) -> None:
    talk = await chats.create("w")
    engine = says("abcdefghijklmnopqrstuvwxyz", 0.02)
    pieces: list[str] = []
    sending = asyncio.create_task(chats.send(talk.id, "Go", [], Asker(engine), pieces.append))
    while len(pieces) < 3:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    with pytest.raises(RequestError, match="being answered"):
        await chats.send(talk.id, "And?", [], Asker(engine), nothing)
    await chats.stop(talk.id)
    reply = await sending
    assert reply.turn.state == "stopped"
    assert reply.turn.content.startswith("abc")
    written = engine.tokens_written
    await asyncio.sleep(0.06)
    assert engine.tokens_written == written
    assert [one.content for one in (await chats.get(talk.id)).turns] == ["Go", reply.turn.content]
    assert "*(stopped)*" in await chats.export(talk.id)


async def test_a_cancelled_request_stops_the_model_and_keeps_what_was_written(
    chats: Conversations,
) -> None:
    talk = await chats.create("w")
    engine = says("abcdefghijklmnopqrstuvwxyz", 0.02)
    pieces: list[str] = []
    sending = asyncio.create_task(chats.send(talk.id, "Go", [], Asker(engine), pieces.append))
    while len(pieces) < 3:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert engine.stopped_early == 1
    turns = (await chats.get(talk.id)).turns
    assert turns[1].state == "stopped"
    assert turns[1].content.startswith("abc")
    await chats.send(talk.id, "Again", [], Asker(says("ok")), nothing)  # it is free again


async def test_retrying_replaces_the_answer(chats: Conversations) -> None:
    talk = await chats.create("w")
    await chats.send(talk.id, "Q", [], Asker(says("bad")), nothing)
    await chats.retry(talk.id, Asker(says("good")), nothing)
    assert [one.content for one in (await chats.get(talk.id)).turns] == ["Q", "good"]


async def test_editing_forgets_what_came_after(chats: Conversations) -> None:
    talk = await chats.create("w")
    for said in ("A", "B", "C"):
        await chats.send(talk.id, said, [], Asker(says(said.lower())), nothing)
    second = (await chats.get(talk.id)).turns[2]
    engine = says("x")
    await chats.edit(talk.id, second.id, "B2", Asker(engine), nothing)
    assert [one.content for one in (await chats.get(talk.id)).turns] == ["A", "a", "B2", "x"]
    assert "Human: B\n" not in prompt_of(engine)
    with pytest.raises(RequestError, match="no such message"):
        await chats.edit(talk.id, second.id, "again", Asker(engine), nothing)


async def test_what_does_not_fit_leaves_the_conversation_as_it_was(chats: Conversations) -> None:
    talk = await chats.create("w")
    await chats.send(talk.id, "A", [], Asker(says("a")), nothing)
    with pytest.raises(PromptTooLongError):
        await chats.retry(talk.id, Asker(says("b", window=200)), nothing)
    with pytest.raises(RequestError, match="empty"):
        await chats.send(talk.id, "  ", [], Asker(says("b")), nothing)
    assert [one.content for one in (await chats.get(talk.id)).turns] == ["A", "a"]


async def test_a_long_conversation_says_what_it_left_out(chats: Conversations) -> None:
    talk = await chats.create("w")
    engine = says("y" * 300, window=5000)
    asker = Asker(engine, ChatSettings(max_new_tokens=400))
    num_left_out = 0
    for turn in range(12):
        reply = await chats.send(talk.id, f"{turn} " + "x" * 300, [], asker, nothing)
        num_left_out = reply.num_left_out
    assert num_left_out > 0
    assert "Human: 11 x" in prompt_of(engine)
    assert "Human: 0 x" not in prompt_of(engine)
    assert len((await chats.get(talk.id)).turns) == 24  # what is kept is whole


class Breaking(ScriptedEngine):
    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        yield Chunk("half an ")
        raise EngineLostError("gone")


async def test_an_engine_that_dies_loses_nothing(chats: Conversations) -> None:
    talk = await chats.create("w")
    with pytest.raises(EngineLostError):
        await chats.send(talk.id, "Q", [], Asker(Breaking(lambda _: "")), nothing)
    turns = (await chats.get(talk.id)).turns
    assert [(one.content, one.state) for one in turns] == [("Q", "whole"), ("half an", "failed")]
    await chats.retry(talk.id, Asker(says("whole")), nothing)
    assert [one.content for one in (await chats.get(talk.id)).turns] == ["Q", "whole"]


async def test_conversations_belong_to_a_workspace_and_can_be_deleted(chats: Conversations) -> None:
    mine, other, empty = [await chats.create(name) for name in ("a", "b", "a")]
    for one in (mine, other):
        await chats.send(one.id, "secret words", [], Asker(says("x")), nothing)
    assert [one.id for one in await chats.list("a")] == [mine.id]  # an empty one is not shown
    await chats.delete(mine.id)
    await chats.delete(mine.id)
    assert await chats.list("a") == []
    with pytest.raises(RequestError, match="no such conversation"):
        await chats.get(mine.id)
    await chats.clear("b")
    assert await chats.list("b") == []
    del empty


async def test_deleted_words_are_gone_from_the_disk(
    chats: Conversations, store: ConversationStore
) -> None:
    talk = await chats.create("w")
    await chats.send(talk.id, "zanzibar", [], Asker(says("x")), nothing)
    assert b"zanzibar" in store._file.read_bytes()
    await chats.delete(talk.id)
    assert b"zanzibar" not in store._file.read_bytes()


def test_only_the_user_can_read_the_file(store: ConversationStore) -> None:
    store.create("w")
    assert stat.S_IMODE(store._file.stat().st_mode) == 0o600


def test_old_conversations_go(store: ConversationStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "MAX_CONVERSATIONS", 3)
    made = [store.create("w") for _ in range(5)]
    other = store.create("v")
    for gone in made[:2]:
        with pytest.raises(RequestError):
            store.get(gone.id)
    for kept in (*made[2:], other):
        store.get(kept.id)


def test_a_file_that_is_none_of_ours_is_told(tmp_path: Path) -> None:
    file = tmp_path / "chats.sqlite3"
    file.write_text("not a database, and long enough to be looked at as one" * 20)
    with pytest.raises(StarcoderError, match="Move the file away"):
        ConversationStore(file).create("w")
    newer = tmp_path / "newer.sqlite3"
    with sqlite3.connect(newer) as base:
        base.execute("pragma user_version = 99")
    with pytest.raises(StarcoderError, match="newer starcoder-lsp"):
        ConversationStore(newer).create("w")


def test_a_fence_is_longer_than_those_within() -> None:
    text = "a\n````\nb"
    assert code_blocks(fenced(text, "md")) == [text]


def test_code_blocks_of_an_answer_that_is_not_finished() -> None:
    assert code_blocks("Sure:\n```python\na = 1\n```\nand\n```\nb") == ["a = 1", "b"]
    assert code_blocks("none") == []
