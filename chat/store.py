"""Conversations on disk: one SQLite file for all workspaces of the user.

All methods block, so call them in a thread. Each call opens the file again. So several editor
windows can share the file, and a killed process leaves it intact. `chat.database` decides what
happens if the file cannot be used.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from sqlite3 import Connection, IntegrityError
from typing import Literal

import platformdirs

from chat.attachments import Attachment
from chat.database import DamagedError, Database
from engine.errors import RequestError

MAX_CONVERSATIONS = 200
"""Number of conversations that are kept per workspace. The least recently changed are deleted."""

_VARIABLE = "STARCODER_LSP_CHATS"
_MAX_TITLE_CHARACTERS = 60
_TABLES = """
create table if not exists conversations (
    id text primary key, workspace text not null, title text not null, changed real not null
);
create index if not exists by_workspace on conversations (workspace, changed);
create table if not exists turns (
    id text primary key,
    conversation text not null references conversations (id) on delete cascade,
    role text not null, content text not null, attachments text not null, state text not null
);
create index if not exists by_conversation on turns (conversation);
"""

TurnState = Literal["whole", "stopped", "cut off", "failed"]
"""State of a turn after it ended.

- `whole`: The model ended the answer. Turns of the user have this state, too.
- `stopped`: The user stopped the answer.
- `cut off`: The answer reached the maximum length.
- `failed`: An error ended the answer.
"""


@dataclass(frozen=True, slots=True)
class Turn:
    """One stored message of a conversation."""

    id: str
    role: str
    """Author of the message: `system`, `user` or `assistant`."""
    content: str
    attachments: tuple[Attachment, ...] = ()
    state: TurnState = "whole"


@dataclass(frozen=True, slots=True)
class ConversationSummary:
    """The title and date of a conversation, without its turns."""

    id: str
    title: str
    changed: float
    """Time of the last change, in seconds since 1970."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation with its turns, oldest first."""

    id: str
    workspace: str
    title: str
    turns: tuple[Turn, ...]


def new_turn(
    role: str, content: str, attachments: Sequence[Attachment] = (), state: TurnState = "whole"
) -> Turn:
    """Return a turn with a new id."""
    return Turn(uuid.uuid4().hex, role, content, tuple(attachments), state)


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
        self._database = Database(file or chats_file(), _TABLES, _VARIABLE, on_problem)

    @property
    def problem(self) -> str:
        """Why conversations are lost when the process ends, as a sentence for the user, or empty.

        Known after the first use of the file.
        """
        return self._database.problem

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

    def list(self, workspace: str) -> list[ConversationSummary]:
        """Return the conversations of a workspace that have turns, newest first."""
        rows = self._database.run(
            lambda database: database.execute(
                "select id, title, changed from conversations where workspace = ? and exists "
                "(select 1 from turns where conversation = conversations.id) "
                "order by changed desc, rowid desc",
                (workspace,),
            ).fetchall()
        )
        return [ConversationSummary(*row) for row in rows]

    def get(self, id_: str) -> Conversation:
        """Return a conversation; raises RequestError if it does not exist."""

        def get(database: Connection) -> Conversation:
            row = database.execute(
                "select workspace, title from conversations where id = ?", (id_,)
            ).fetchone()
            if row is None:
                raise _no_conversation()
            turns = database.execute(
                "select id, role, content, attachments, state from turns where conversation = ? "
                "order by rowid",
                (id_,),
            ).fetchall()
            return Conversation(id_, row[0], row[1], tuple(_turn(*turn) for turn in turns))

        return self._database.run(get)

    def add(self, conversation: str, turn: Turn) -> None:
        """Add a turn at the end. The first turn of the user becomes the conversation's title.

        Raises RequestError if the conversation does not exist.
        """
        attachments = json.dumps([asdict(each) for each in turn.attachments])
        row = (turn.id, conversation, turn.role, turn.content, attachments, turn.state)

        def add(database: Connection) -> None:
            database.execute("insert into turns values (?, ?, ?, ?, ?, ?)", row)
            database.execute(
                "update conversations set changed = ?, title = case when title = '' then ? else "
                "title end where id = ?",
                (time.time(), _title(turn), conversation),
            )

        try:
            self._database.run(add)
        except IntegrityError:
            raise _no_conversation() from None

    def delete_from(self, conversation: str, turn: str) -> None:
        """Delete a turn and all turns after it."""
        self._execute(
            "delete from turns where conversation = ? and rowid >= "
            "(select rowid from turns where id = ? and conversation = ?)",
            (conversation, turn, conversation),
        )

    def delete(self, conversation: str) -> None:
        """Delete a conversation if it exists."""
        self._execute("delete from conversations where id = ?", (conversation,))

    def clear(self, workspace: str) -> None:
        """Delete all conversations of a workspace."""
        self._execute("delete from conversations where workspace = ?", (workspace,))

    def _execute(self, statement: str, values: tuple[str, ...]) -> None:
        self._database.run(lambda database: database.execute(statement, values))


def _no_conversation() -> RequestError:
    return RequestError("There is no such conversation; it may have been deleted.")


def _turn(id_: str, role: str, content: str, attachments: str, state: TurnState) -> Turn:
    try:
        parsed = tuple(Attachment(**each) for each in json.loads(attachments))
    except (ValueError, TypeError) as error:
        raise DamagedError("attachments that are no JSON of attachments") from error
    return Turn(id_, role, content, parsed, state)


def _title(turn: Turn) -> str:
    if turn.role != "user":
        return ""
    words = " ".join(turn.content.split())
    if len(words) <= _MAX_TITLE_CHARACTERS:
        return words
    return words[: _MAX_TITLE_CHARACTERS - 1].rsplit(" ", 1)[0] + "…"
