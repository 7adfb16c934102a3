"""An index of the files of a project: similar chunks (BM25), and definitions by name.

Both are in one SQLite database in memory. BM25 (Robertson and Zaragoza 2009) is that of SQLite's
FTS5. Calls are safe from any thread. Each call takes milliseconds, so the caller must not make it
in the event loop.
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

_MAX_CHUNK_CHARACTERS = 1200
"""Maximum characters of an indexed chunk. A larger one has long lines, so it is data."""

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
class Match:
    """A chunk that matches a query."""

    excerpt: Excerpt
    score: float
    """BM25 score, larger for a better match."""


class Index:
    """Index of the files of a project."""

    def __init__(self, max_characters: int = 20_000_000) -> None:
        """Limit the index to files with `max_characters` characters in total."""
        self._max_characters = max_characters
        self._lock = threading.Lock()
        self._database = sqlite3.connect(":memory:", check_same_thread=False)
        self._database.executescript(_TABLES)
        self._num_characters = 0

    @property
    def num_characters(self) -> int:
        """Number of characters of all indexed files."""
        return self._num_characters

    def add(self, path: str, language: str, text: str) -> bool:
        """Add a file, or replace its earlier version; return False if the index is full."""
        pieces = list(chunks(text))
        defined = definitions(text, language)
        with self._lock, self._database:
            self._remove(path)
            if self._num_characters + len(text) > self._max_characters:
                return False
            self._database.execute("insert into files values (?, ?)", (path, len(text)))
            for piece in pieces:
                row = self._database.execute(
                    "insert into chunks values (?, ?, ?)", (" ".join(words(piece)), path, piece)
                )
                self._database.execute("insert into places values (?, ?)", (path, row.lastrowid))
            rows = [(definition.name, path, definition.text) for definition in defined]
            self._database.executemany("insert into definitions values (?, ?, ?)", rows)
            self._num_characters += len(text)
        return True

    def remove(self, path: str) -> None:
        """Remove a file."""
        with self._lock, self._database:
            self._remove(path)

    def similar(self, query_words: Sequence[str], path: str, max_count: int) -> list[Match]:
        """Return the chunks that match the words best, except those of the file `path`."""
        query = " OR ".join(f'"{word}"' for word in query_words if word.isalnum())
        if not query:
            return []
        with self._lock:
            rows = self._database.execute(
                "select path, text, -bm25(chunks) as score from chunks "
                "where chunks match ? and path <> ? order by rank limit ?",
                (query, path, max_count),
            ).fetchall()
        return [Match(Excerpt(chunk_path, text), score) for chunk_path, text, score in rows]

    def definitions_of(self, name: str, path: str) -> list[Excerpt]:
        """Return the definitions of a name, except those in the file `path`."""
        with self._lock:
            rows = self._database.execute(
                "select path, text from definitions where name = ? and path <> ? order by path",
                (name, path),
            ).fetchall()
        return [Excerpt(defining_path, text) for defining_path, text in rows]

    def _remove(self, path: str) -> None:
        row = self._database.execute("select size from files where path = ?", (path,)).fetchone()
        if row is None:
            return
        self._num_characters -= row[0]
        self._database.execute(
            "delete from chunks where rowid in (select chunk from places where path = ?)", (path,)
        )
        for table in ("files", "places", "definitions"):
            self._database.execute(f"delete from {table} where path = ?", (path,))


def chunks(text: str) -> list[str]:
    """Split a text into chunks of whole lines, at an empty line if one is near."""
    lines = text.split("\n")
    pieces, start = [], 0
    while start < len(lines):
        end = min(start + CHUNK_LINES, len(lines))
        for candidate in range(end, max(start + CHUNK_LINES // 2, start + 1), -1):
            if candidate < len(lines) and not lines[candidate - 1].strip():
                end = candidate
                break
        piece = "\n".join(lines[start:end]).strip("\n")
        if piece.strip() and len(piece) <= _MAX_CHUNK_CHARACTERS:
            pieces.append(piece)
        start = end
    return pieces
