"""An index over the files of a project: what is alike (BM25), and where a name is defined.

Both lie in one SQLite database in memory. BM25 (Robertson and Zaragoza 2009) is that of SQLite's
FTS5. Calls are safe from any thread, and each takes milliseconds: the caller keeps them off the
event loop.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from fim.context.definitions import definitions
from fim.context.words import words
from fim.snapshot import Excerpt

CHUNK_LINES = 16
"""Lines of a piece that is found and shown as one."""

_CHUNK_CHARACTERS = 1200
"""A piece with longer lines is data."""

_TABLES = """
create table files (path text primary key, size integer not null);
create virtual table chunks using fts5 (words, path unindexed, text unindexed);
create table places (path text not null, chunk integer not null);
create index places_by_path on places (path);
create table definitions (name text not null, path text not null, text text not null);
create index definitions_by_name on definitions (name);
create index definitions_by_path on definitions (path);
"""


@dataclass(frozen=True, slots=True)
class Found:
    """A piece of a file that is like what was looked for."""

    excerpt: Excerpt
    score: float
    """BM25, larger for what is more alike."""


class Index:
    """What is known of a project's files; at most so many characters of them."""

    def __init__(self, most_characters: int = 20_000_000) -> None:
        self._most = most_characters
        self._lock = threading.Lock()
        self._database = sqlite3.connect(":memory:", check_same_thread=False)
        self._database.executescript(_TABLES)
        self._held = 0

    @property
    def characters(self) -> int:
        """How much text is held."""
        return self._held

    def put(self, path: str, language: str, text: str) -> bool:
        """Take on a file as it is now; False if it does not fit any more."""
        pieces = list(chunks(text))
        named = definitions(text, language)
        with self._lock, self._database:
            self._remove(path)
            if self._held + len(text) > self._most:
                return False
            self._database.execute("insert into files values (?, ?)", (path, len(text)))
            for piece in pieces:
                made = self._database.execute(
                    "insert into chunks values (?, ?, ?)", (" ".join(words(piece)), path, piece)
                )
                self._database.execute("insert into places values (?, ?)", (path, made.lastrowid))
            rows = [(one.name, path, one.text) for one in named]
            self._database.executemany("insert into definitions values (?, ?, ?)", rows)
            self._held += len(text)
        return True

    def remove(self, path: str) -> None:
        """Forget a file."""
        with self._lock, self._database:
            self._remove(path)

    def alike(self, wanted: Sequence[str], path: str, most: int) -> list[Found]:
        """Return the pieces of other files than `path` that share most of the words, best first."""
        query = " OR ".join(f'"{word}"' for word in wanted if word.isalnum())
        if not query:
            return []
        with self._lock:
            rows = self._database.execute(
                "select path, text, -bm25(chunks) as score from chunks "
                "where chunks match ? and path <> ? order by rank limit ?",
                (query, path, most),
            ).fetchall()
        return [Found(Excerpt(where, text), score) for where, text, score in rows]

    def defined(self, name: str, path: str) -> list[Excerpt]:
        """Return the definitions of a name in other files than `path`."""
        with self._lock:
            rows = self._database.execute(
                "select path, text from definitions where name = ? and path <> ? order by path",
                (name, path),
            ).fetchall()
        return [Excerpt(where, text) for where, text in rows]

    def _remove(self, path: str) -> None:
        found = self._database.execute("select size from files where path = ?", (path,)).fetchone()
        if found is None:
            return
        self._held -= found[0]
        self._database.execute(
            "delete from chunks where rowid in (select chunk from places where path = ?)", (path,)
        )
        for table in ("files", "places", "definitions"):
            self._database.execute(f"delete from {table} where path = ?", (path,))


def chunks(text: str) -> list[str]:
    """Return a text in pieces of whole lines, parted where a line is empty if one is near."""
    lines = text.split("\n")
    made, start = [], 0
    while start < len(lines):
        end = min(start + CHUNK_LINES, len(lines))
        for at in range(end, max(start + CHUNK_LINES // 2, start + 1), -1):
            if at < len(lines) and not lines[at - 1].strip():
                end = at
                break
        piece = "\n".join(lines[start:end]).strip("\n")
        if piece.strip() and len(piece) <= _CHUNK_CHARACTERS:
            made.append(piece)
        start = end
    return made
