"""Conversations on disk: one SQLite file of the user's, told apart by workspace.

Blocks: call it from a thread of its own. Each call opens the file anew, so that several editor
windows may share it, and one that is killed leaves it whole.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import platformdirs

from chat.attachments import Attachment
from engine.errors import RequestError, StarcoderError

MAX_CONVERSATIONS = 200
"""Kept of one workspace; the one that was longest untouched goes first."""

_VARIABLE = "STARCODER_LSP_CHATS"
_VERSION = 1
_TITLE_CHARACTERS = 60
_TABLES = """
create table conversations (
    id text primary key, workspace text not null, title text not null, changed real not null
);
create index by_workspace on conversations (workspace, changed);
create table turns (
    id text primary key,
    conversation text not null references conversations (id) on delete cascade,
    role text not null, content text not null, attachments text not null, state text not null
);
create index by_conversation on turns (conversation);
"""

TurnState = Literal["whole", "stopped", "cut off", "failed"]
"""How a turn ended: by itself, by the user, at the longest length, with an error."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation."""

    id: str
    role: str
    content: str
    attachments: tuple[Attachment, ...] = ()
    state: TurnState = "whole"


@dataclass(frozen=True, slots=True)
class ConversationSummary:
    """A conversation without its turns."""

    id: str
    title: str
    changed: float
    """Seconds since 1970."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation."""

    id: str
    workspace: str
    title: str
    turns: tuple[Turn, ...]


def new_turn(
    role: str, content: str, attachments: Sequence[Attachment] = (), state: TurnState = "whole"
) -> Turn:
    """Return a turn with an id of its own."""
    return Turn(uuid.uuid4().hex, role, content, tuple(attachments), state)


def chats_file() -> Path:
    """Return where conversations are kept; `STARCODER_LSP_CHATS` names another file."""
    named = os.environ.get(_VARIABLE)
    return Path(named) if named else platformdirs.user_data_path("starcoder-lsp") / "chats.sqlite3"


class ConversationStore:
    """Reads and writes conversations."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file or chats_file()

    def create(self, workspace: str) -> Conversation:
        """Begin a conversation; the oldest beyond the bound are deleted."""
        id_ = uuid.uuid4().hex
        with self._open() as base:
            base.execute(
                "insert into conversations values (?, ?, '', ?)", (id_, workspace, time.time())
            )
            base.execute(
                "delete from conversations where workspace = ? and id not in (select id from "
                "conversations where workspace = ? order by changed desc, rowid desc limit ?)",
                (workspace, workspace, MAX_CONVERSATIONS),
            )
        return Conversation(id_, workspace, "", ())

    def list(self, workspace: str) -> list[ConversationSummary]:
        """Return the conversations of a workspace in which something was said, newest first."""
        with self._open() as base:
            rows = base.execute(
                "select id, title, changed from conversations where workspace = ? and exists "
                "(select 1 from turns where conversation = conversations.id) "
                "order by changed desc, rowid desc",
                (workspace,),
            ).fetchall()
        return [ConversationSummary(*row) for row in rows]

    def get(self, id_: str) -> Conversation:
        """Return a conversation; raises RequestError for one that is not there."""
        with self._open() as base:
            row = base.execute(
                "select workspace, title from conversations where id = ?", (id_,)
            ).fetchone()
            if row is None:
                raise RequestError("There is no such conversation; it may have been deleted.")
            turns = base.execute(
                "select id, role, content, attachments, state from turns where conversation = ? "
                "order by rowid",
                (id_,),
            ).fetchall()
        return Conversation(id_, row[0], row[1], tuple(_turn(*one) for one in turns))

    def add(self, conversation: str, turn: Turn) -> None:
        """Write a turn behind the others; the user's first gives the conversation its title."""
        attached = json.dumps([asdict(one) for one in turn.attachments])
        row = (turn.id, conversation, turn.role, turn.content, attached, turn.state)
        with self._open() as base:
            base.execute("insert into turns values (?, ?, ?, ?, ?, ?)", row)
            base.execute(
                "update conversations set changed = ?, title = case when title = '' then ? else "
                "title end where id = ?",
                (time.time(), _title(turn), conversation),
            )

    def cut(self, conversation: str, turn: str) -> None:
        """Delete a turn and all behind it."""
        with self._open() as base:
            base.execute(
                "delete from turns where conversation = ? and rowid >= "
                "(select rowid from turns where id = ? and conversation = ?)",
                (conversation, turn, conversation),
            )

    def delete(self, conversation: str) -> None:
        """Delete a conversation; one that is not there is as good as deleted."""
        with self._open() as base:
            base.execute("delete from conversations where id = ?", (conversation,))

    def clear(self, workspace: str) -> None:
        """Delete all conversations of a workspace."""
        with self._open() as base:
            base.execute("delete from conversations where workspace = ?", (workspace,))

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            # Conversations hold the user's code: nobody else reads them.
            os.close(os.open(self._file, os.O_CREAT | os.O_RDWR, 0o600))
            with closing(sqlite3.connect(self._file, timeout=5.0)) as base, base:
                base.execute("pragma foreign_keys = on")
                base.execute("pragma secure_delete = on")
                _prepare(base, self._file)
                yield base
        except (OSError, sqlite3.Error) as error:
            raise StarcoderError(
                f"Conversations cannot be kept in {self._file}: {error}. Move the file away, or "
                f"name another by {_VARIABLE}."
            ) from error


def _prepare(base: sqlite3.Connection, file: Path) -> None:
    version = base.execute("pragma user_version").fetchone()[0]
    if version == 0:
        base.executescript(f"{_TABLES} pragma user_version = {_VERSION};")
    elif version > _VERSION:
        raise StarcoderError(
            f"{file} was written by a newer starcoder-lsp: update this one, or name another file "
            f"by {_VARIABLE}."
        )


def _turn(id_: str, role: str, content: str, attached: str, state: TurnState) -> Turn:
    attachments = tuple(Attachment(**one) for one in json.loads(attached))
    return Turn(id_, role, content, attachments, state)


def _title(turn: Turn) -> str:
    if turn.role != "user":
        return ""
    words = " ".join(turn.content.split())
    short = len(words) <= _TITLE_CHARACTERS
    return words if short else words[: _TITLE_CHARACTERS - 1].rsplit(" ", 1)[0] + "…"
