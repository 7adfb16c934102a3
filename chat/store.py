"""Conversations on disk: one SQLite file for all workspaces of the user.

All methods block, so call them in a thread. Each call opens the file again. So several editor
windows can share the file, and a killed process leaves it intact. `chat.database` decides what
happens if the file cannot be used.
"""

from __future__ import annotations

import json
import os
import time
import unicodedata
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from sqlite3 import Connection, IntegrityError

import platformdirs

from chat.attachments import Attachment
from chat.database import DamagedError, Database
from chat.turns import Conversation, ConversationSummary, Turn, TurnState
from engine.errors import RequestError

MAX_CONVERSATIONS = 200
"""Number of conversations that are kept per workspace. The least recently changed are deleted."""

_VARIABLE = "STARCODER_LSP_CHATS"
_MAX_TITLE_CHARACTERS = 60
_MAX_OWN_TITLE_CHARACTERS = 200
_VERSIONS = (
    (
        "create table conversations ("
        "id text primary key, workspace text not null, title text not null, changed real not null)",
        "create index by_workspace on conversations (workspace, changed)",
        "create table turns (id text primary key, "
        "conversation text not null references conversations (id) on delete cascade, "
        "role text not null, content text not null, attachments text not null, "
        "state text not null)",
        "create index by_conversation on turns (conversation)",
    ),
    ("alter table turns add column model text not null default ''",),
)


def chats_file() -> Path:
    """Return the file of all conversations. `STARCODER_LSP_CHATS` replaces the default."""
    configured = os.environ.get(_VARIABLE)
    if configured:
        return Path(configured)
    return platformdirs.user_data_path("starcoder-lsp") / "chats.sqlite3"


class ConversationStore:
    """Reads and writes the file of all conversations."""

    def __init__(
        self, file: Path | None = None, on_problem: Callable[[str], None] = lambda _: None
    ) -> None:
        """Store conversations in `file`.

        `on_problem` gets one sentence for the user if the file is damaged or cannot be used. Each
        problem is reported once, from the thread that calls a method.
        """
        self._database = Database(file or chats_file(), _VERSIONS, _VARIABLE, on_problem)

    def create(self, workspace: str) -> Conversation:
        """Create an empty conversation, and delete the oldest ones above `MAX_CONVERSATIONS`."""
        id_ = uuid.uuid4().hex

        def create(database: Connection) -> None:
            database.execute(
                "insert into conversations values (?, ?, '', ?)", (id_, workspace, time.time())
            )
            database.execute(
                "delete from conversations where workspace = ? and id not in (select id from "
                "conversations where workspace = ? order by changed desc, rowid desc limit ?)",
                (workspace, workspace, MAX_CONVERSATIONS),
            )

        self._database.run(create)
        return Conversation(id_, workspace, "", ())

    def list(self, workspace: str, query: str = "") -> list[ConversationSummary]:
        """Return the conversations of a workspace that have turns, newest first.

        With a `query`, only those that contain each of its words in the title or in a message.
        Upper and lower case are the same.
        """
        words = _folded(query).split()
        text = "title || ' ' || group_concat(content, ' ')" if words else "''"

        def select(database: Connection) -> list[tuple[str, str, float, str]]:
            return database.execute(
                f"select conversations.id, title, changed, {text} from conversations "
                "join turns on conversation = conversations.id where workspace = ? "
                "group by conversations.id order by changed desc, conversations.rowid desc",
                (workspace,),
            ).fetchall()

        return [
            ConversationSummary(id_, title, changed)
            for id_, title, changed, text in self._database.run(select)
            if all(word in _folded(text) for word in words)
        ]

    def rename(self, id_: str, title: str) -> str:
        """Give a conversation another title and return it in one line, without its end if it is
        too long. Raises RequestError if the title is empty or there is no such conversation.
        """
        title = " ".join(title.split())[:_MAX_OWN_TITLE_CHARACTERS]
        if not title:
            raise RequestError("The title is empty. Write one.")
        statement = "update conversations set title = ? where id = ?"
        num_changed = self._database.run(
            lambda database: database.execute(statement, (title, id_)).rowcount
        )
        if num_changed == 0:
            raise _no_conversation()
        return title

    def get(self, id_: str) -> Conversation:
        """Return a conversation; raises RequestError if it does not exist."""

        def get(database: Connection) -> Conversation:
            row = database.execute(
                "select workspace, title from conversations where id = ?", (id_,)
            ).fetchone()
            if row is None:
                raise _no_conversation()
            turns = database.execute(
                "select id, role, content, attachments, state, model from turns "
                "where conversation = ? order by rowid",
                (id_,),
            ).fetchall()
            return Conversation(id_, row[0], row[1], tuple(_turn(*turn) for turn in turns))

        return self._database.run(get)

    def add(self, conversation: str, turn: Turn) -> None:
        """Add a turn at the end. The first turn of the user becomes the conversation's title.

        Raises RequestError if the conversation does not exist.
        """
        self.replace(conversation, None, [turn])

    def replace(self, conversation: str, first: str | None, turns: Sequence[Turn]) -> None:
        """Put turns in place of the turn `first` and all turns after it; with None, add them.

        A conversation without turns loses its title. Raises RequestError if the conversation does
        not exist.
        """
        title = next((_title(turn) for turn in turns if turn.role == "user"), "")

        def replace(database: Connection) -> None:
            database.execute(
                "delete from turns where conversation = ? and rowid >= "
                "(select rowid from turns where id = ? and conversation = ?)",
                (conversation, first, conversation),
            )
            database.execute(
                "update conversations set title = '' where id = ? and not exists "
                "(select 1 from turns where conversation = ?)",
                (conversation, conversation),
            )
            for turn in turns:
                _insert(database, conversation, turn)
            database.execute(
                "update conversations set changed = ?, title = case when title = '' then ? else "
                "title end where id = ?",
                (time.time(), title, conversation),
            )

        self._change(replace)

    def save(self, conversation: str, turn: Turn) -> None:
        """Store a turn again if it is stored, else add it.

        Raises RequestError if the conversation does not exist.
        """

        def save(database: Connection) -> None:
            _insert(database, conversation, turn)
            statement = "update conversations set changed = ? where id = ?"
            database.execute(statement, (time.time(), conversation))

        self._change(save)

    def delete(self, conversation: str) -> None:
        """Delete a conversation if it exists."""
        self._execute("delete from conversations where id = ?", (conversation,))

    def clear(self, workspace: str) -> None:
        """Delete all conversations of a workspace."""
        self._execute("delete from conversations where workspace = ?", (workspace,))

    def _change(self, work: Callable[[Connection], None]) -> None:
        """Run a function that inserts turns; raises RequestError without the conversation."""
        try:
            self._database.run(work)
        except IntegrityError:
            raise _no_conversation() from None

    def _execute(self, statement: str, values: tuple[str, ...]) -> None:
        self._database.run(lambda database: database.execute(statement, values))


def _no_conversation() -> RequestError:
    return RequestError("There is no such conversation; it may have been deleted.")


def _insert(database: Connection, conversation: str, turn: Turn) -> None:
    """Insert a turn, or update the content of the stored turn with this id."""
    attachments = json.dumps([asdict(each) for each in turn.attachments])
    database.execute(
        "insert into turns (id, conversation, role, content, attachments, state, model) values "
        "(?, ?, ?, ?, ?, ?, ?) on conflict (id) do update set "
        "content = excluded.content, state = excluded.state, model = excluded.model",
        (turn.id, conversation, turn.role, turn.content, attachments, turn.state, turn.model),
    )


def _turn(
    id_: str, role: str, content: str, attachments: str, state: TurnState, model: str
) -> Turn:
    try:
        parsed = tuple(Attachment(**each) for each in json.loads(attachments))
    except (ValueError, TypeError) as error:
        raise DamagedError("attachments that are no JSON of attachments") from error
    return Turn(id_, role, content, parsed, state, model)


def _folded(text: str) -> str:
    """Return a text as it is searched: without case, and in one form of accented letters."""
    return unicodedata.normalize("NFKC", text).casefold()


def _title(turn: Turn) -> str:
    if turn.role != "user":
        return ""
    words = " ".join(turn.content.split())
    if len(words) <= _MAX_TITLE_CHARACTERS:
        return words
    return words[: _MAX_TITLE_CHARACTERS - 1].rsplit(" ", 1)[0] + "…"
