"""Chat goes on if the file of conversations is damaged or cannot be used, and nothing is lost."""

from __future__ import annotations

import contextlib
import os
import resource
import sqlite3
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from chat import database
from chat.store import ConversationStore
from chat.turns import new_turn
from engine.errors import RequestError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with one conversation."""
    file = tmp_path / "data" / "chats.sqlite3"
    store = ConversationStore(file)
    conversation = store.create("w")
    store.add(conversation.id, new_turn("user", "the old question"))
    return file


class Chat:
    """A store and what it reported."""

    def __init__(self, file: Path) -> None:
        self.problems: list[str] = []
        self.store = ConversationStore(file, self.problems.append)

    def titles(self) -> list[str]:
        return [each.title for each in self.store.list("w")]

    def use(self) -> None:
        """Do what a user does: a new conversation, an answer, and an old one deleted."""
        conversation = self.store.create("w")
        self.store.add(conversation.id, new_turn("user", "the new question"))
        self.store.add(conversation.id, new_turn("assistant", "the answer"))
        assert [turn.content for turn in self.store.get(conversation.id).turns] == [
            "the new question",
            "the answer",
        ]


def garbage(file: Path) -> None:
    file.write_bytes(b"not a database, but as long as one" * 200)


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def overwrite_pages(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    file.write_bytes(content)


def sql(statement: str) -> Callable[[Path], None]:
    def damage(file: Path) -> None:
        with sqlite3.connect(file) as connection:
            connection.execute(statement)
        connection.close()

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        garbage,
        cut,
        overwrite_pages,
        sql("drop table turns"),
        sql("alter table turns drop column state"),
        sql("update turns set attachments = '{'"),
        sql("update turns set attachments = '[1]'"),
    ],
)
def test_a_damaged_file_is_kept_under_another_name(
    file: Path, damage: Callable[[Path], None]
) -> None:
    with sqlite3.connect(file) as connection:
        (id_,) = connection.execute("select id from conversations").fetchone()
    connection.close()
    damage(file)
    before = file.read_bytes()
    chat = Chat(file)
    with contextlib.suppress(RequestError):
        chat.store.get(id_)
    chat.use()
    (aside,) = file.parent.glob("*.damaged-*")
    assert aside.read_bytes() == before
    (problem,) = chat.problems
    assert str(aside) in problem
    assert Chat(file).titles() == ["the new question"], "the new file is not used"


def newer(file: Path) -> None:
    sql("pragma user_version = 99")(file)


def link(file: Path) -> None:
    file.rename(file.with_name("target"))
    file.symlink_to("target")


def fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def file_in_place_of_the_folder(file: Path) -> None:
    file.unlink()
    file.parent.rmdir()
    file.parent.write_text("")


def give_away(file: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("optional: only root can give a file to another user")
    os.chown(file, 12345, 12345)


UNUSABLE = [
    (newer, "newer starcoder-lsp. Update this one"),
    (link, "is a link. Move it away"),
    (fifo, "is no ordinary file"),
    (folder, "cannot be used"),
    (file_in_place_of_the_folder, "cannot be used"),
    (give_away, "belongs to another user"),
]


@pytest.mark.parametrize(("damage", "match"), UNUSABLE)
def test_chat_goes_on_in_memory_and_says_so_once(
    file: Path, damage: Callable[[Path], None], match: str
) -> None:
    damage(file)
    before = file.read_bytes() if file.is_file() else b""
    chat = Chat(file)
    chat.use()
    chat.use()
    assert chat.titles() == ["the new question"] * 2
    (problem,) = chat.problems
    assert match in problem
    assert "STARCODER_LSP_CHATS" in problem
    assert before == (file.read_bytes() if file.is_file() else b""), "the file was changed"
    assert not list(file.parent.glob("*.damaged-*")) or not file.parent.is_dir()


def test_a_locked_file_delays_chat_and_does_not_end_it(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_LOCK_SECONDS", 0.1)
    other = sqlite3.connect(file)
    other.execute("begin exclusive")
    chat = Chat(file)
    chat.use()
    other.close()
    (problem,) = chat.problems
    assert "locked by another program. Close that program" in problem


def test_a_short_lock_is_waited_for(file: Path) -> None:
    other = sqlite3.connect(file, check_same_thread=False)
    other.execute("begin exclusive")
    timer = threading.Timer(0.3, other.close)
    timer.start()
    chat = Chat(file)
    chat.use()
    timer.join()
    assert chat.problems == []
    assert sorted(chat.titles()) == ["the new question", "the old question"]


def in_child(work: Callable[[], None]) -> None:
    """Run a function in a child process; the test fails if it does."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_with_a_full_disk_old_conversations_can_be_read(file: Path) -> None:
    """A limit on the size of files stands for the full disk."""

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        chat = Chat(file)
        assert chat.titles() == ["the old question"]
        chat.use()
        (problem,) = chat.problems
        assert "Chats are not stored" in problem
        assert sorted(chat.titles()) == ["the new question", "the old question"]

    in_child(work)
    assert Chat(file).titles() == ["the old question"]


def test_sqlites_own_word_for_a_full_disk_is_understood(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = database.Database._prepare

    def small(self: database.Database, connection: sqlite3.Connection) -> None:
        tables(self, connection)
        if self._memory is None and connection.execute("pragma database_list").fetchone()[2]:
            connection.execute("pragma max_page_count = 1")

    monkeypatch.setattr(database.Database, "_prepare", small)
    chat = Chat(file)
    conversation = chat.store.create("w")
    chat.store.add(conversation.id, new_turn("user", "x" * 100_000))
    (problem,) = chat.problems
    assert "is on a full disk. Free some space" in problem
    assert "the old question" in chat.titles()


def test_a_read_only_folder_can_be_read(file: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("optional: root starts a process of another user")
    for path in (file, file.parent):
        os.chown(path, 12345, 12345)
    file.chmod(0o400)
    file.parent.chmod(0o500)
    for parent in file.parents[1:-1]:
        parent.chmod(parent.stat().st_mode | 0o055)

    def work() -> None:
        os.setuid(12345)
        chat = Chat(file)
        chat.use()
        (problem,) = chat.problems
        assert "Permission denied" in problem
        assert "the old question" in chat.titles()

    in_child(work)


def test_the_file_becomes_private(file: Path) -> None:
    file.chmod(0o666)
    chat = Chat(file)
    chat.use()
    assert chat.problems == []
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_turn_of_a_deleted_conversation_is_an_error_and_no_damage(file: Path) -> None:
    chat = Chat(file)
    with pytest.raises(RequestError, match="no such conversation"):
        chat.store.add("none", new_turn("user", "x"))
    assert chat.problems == []
    assert chat.titles() == ["the old question"]


def test_many_windows_may_create_the_file_together(tmp_path: Path) -> None:
    file = tmp_path / "chats.sqlite3"
    chats = [Chat(file) for _ in range(8)]
    threads = [threading.Thread(target=chat.use) for chat in chats]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [chat.problems for chat in chats] == [[]] * 8
    assert len(chats[0].titles()) == 8


def test_a_file_of_the_first_version_is_converted(tmp_path: Path) -> None:
    file = tmp_path / "chats.sqlite3"
    with sqlite3.connect(file) as connection:
        connection.executescript(
            "create table conversations (id text primary key, workspace text not null, "
            "title text not null, changed real not null);"
            "create table turns (id text primary key, conversation text not null "
            "references conversations (id) on delete cascade, role text not null, "
            "content text not null, attachments text not null, state text not null);"
            "insert into conversations values ('c', 'w', 'the old question', 1);"
            "insert into turns values ('t', 'c', 'user', 'the old question', '[]', 'whole');"
            "pragma user_version = 1"
        )
    connection.close()
    chats = [Chat(file) for _ in range(4)]
    threads = [threading.Thread(target=chat.titles) for chat in chats]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [chat.problems for chat in chats] == [[]] * 4
    chats[0].store.add("c", new_turn("assistant", "yes", model="m"))
    turns = chats[1].store.get("c").turns
    assert [(turn.content, turn.model) for turn in turns] == [
        ("the old question", ""),
        ("yes", "m"),
    ]
