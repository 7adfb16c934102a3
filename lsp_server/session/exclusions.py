"""Files in which nothing is suggested and that no prompt contains, and the reason for each."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from lsp_server.session.places import Place, file_places, places_of
from lsp_server.session.uris import file_of, folder_of
from workspace.git import GitError, ignored_paths
from workspace.ignore_patterns import IgnoreFile, is_excluded, names_of, parse_patterns
from workspace.repository import (
    Repository,
    Signature,
    find_repository,
    is_ignored,
    linked_folders,
    signature,
)

MAX_CHARACTERS = 2_000_000
"""Maximum characters of a file with suggestions. A larger file is data or generated code."""

_NUM_BINARY_CHECK = 8192
"""Characters at the start of a text that are searched for a null character."""
_MAX_WAIT_S = 3.0
"""Seconds that a request waits for the file system and for git."""
_GIT_TIMEOUT_S = 2.0
_MAX_ANSWERS = 1000


def unsuitable_text(text: str) -> str | None:
    """Return why nothing is suggested in this text, None if something may be."""
    if len(text) > MAX_CHARACTERS:
        return f"the file is larger than {MAX_CHARACTERS // 1_000_000} million characters"
    if "\0" in text[:_NUM_BINARY_CHECK]:
        return "the file is binary"
    return None


class Exclusions:
    """Applies the user's patterns and git's ignore rules.

    git is asked once per file, and again when a file has changed that its answer depends on.
    """

    def __init__(
        self,
        patterns: Sequence[str] = (),
        *,
        gitignore: bool = False,
        use_git: bool = True,
        folder_uris: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        """`use_git` says whether git may run; without it, its ignore files are read here."""
        parsed = parse_patterns(patterns)
        self._patterns = IgnoreFile(parsed)
        self._anywhere = IgnoreFile(tuple(pattern.unanchored() for pattern in parsed))
        self._gitignore = gitignore
        self._use_git = use_git
        self._folder_uris = folder_uris
        self._answers: dict[Path, tuple[tuple[Signature, ...], bool]] = {}
        """Answers about ignored files, and what they depend on."""
        self._lookups: dict[tuple[str, bool], asyncio.Task[str | None]] = {}
        """Lookups that run. A newer request for the same document waits for the same one."""

    async def reason(self, uri: str, *, checks_git: bool) -> str | None:
        """Return why nothing is suggested in a document, None if something may be.

        Waits `_MAX_WAIT_S` for the file system and for git, then nothing is known of the file.
        """
        key = (uri, checks_git)
        lookup = self._lookups.get(key)
        if lookup is None:
            work = asyncio.to_thread(self._reason, uri, list(self._folder_uris()), checks_git)
            lookup = self._lookups[key] = asyncio.create_task(work)
            lookup.add_done_callback(lambda _: self._lookups.pop(key, None))
        done, _ = await asyncio.wait({lookup}, timeout=_MAX_WAIT_S)
        return lookup.result() if done else "the file system does not answer"

    def _reason(self, uri: str, folder_uris: Sequence[str], checks_git: bool) -> str | None:
        places = places_of(uri, folder_uris)
        if any(map(self._excludes, places)):
            return f"{Path(places[0].path).name} is excluded by starcoder.exclude"
        file = file_of(uri)
        if checks_git and file is not None and self.is_ignored(file):
            return "git ignores this file"
        return None

    def allows(self, file: Path) -> bool:
        """Whether the user's patterns let other files' prompts contain a file. Reads the disk."""
        roots = [root for uri in self._folder_uris() if (root := folder_of(uri)) is not None]
        return not any(map(self._excludes, file_places(file, roots)))

    def is_ignored(self, file: Path) -> bool:
        """Whether git ignores a file, if this is respected. This may run git."""
        if not self._gitignore:
            return False
        places = _asked_places(file)
        marks = tuple(map(signature, places))
        earlier = self._answers.get(file)
        if earlier is not None and earlier[0] == marks:
            return earlier[1]
        answer = any(map(self._is_ignored, places))
        if len(self._answers) >= _MAX_ANSWERS:
            self._answers.clear()
        self._answers[file] = (marks, answer)
        return answer

    def forget(self, uri: str) -> None:
        """Ask git again about a document that was closed."""
        if (file := file_of(uri)) is not None:
            self._answers.pop(file, None)

    def _excludes(self, place: Place) -> bool:
        file = self._patterns if place.is_in_folder else self._anywhere
        return is_excluded(names_of(place.path), [file])

    def _is_ignored(self, path: Path) -> bool:
        repository = find_repository(path.parent)
        if repository is None:
            return False
        if self._use_git:
            folder = _existing(path.parent)
            name = path.relative_to(folder).as_posix()
            try:
                return bool(ignored_paths(folder, [name], timeout_s=_GIT_TIMEOUT_S))
            except GitError:
                pass  # git is missing, refuses this repository, or hangs at a FIFO
        return is_ignored(path)


def _asked_places(file: Path) -> list[Path]:
    """Return the paths to ask git about, in folders without links.

    git knows a link by its own name, and follows none. So a file in a linked folder is ignored if
    its real place is. It is also ignored if the link is, unless the file belongs to another
    repository.
    """
    places = [_real_place(file)]
    repository = find_repository(places[0].parent)
    for link in map(_real_place, linked_folders(file)):
        if _is_governed(find_repository(link.parent), repository):
            places.append(link)
    return places


def _is_governed(of_link: Repository | None, of_file: Repository | None) -> bool:
    return of_link is not None and (of_file is None or of_file.root == of_link.root)


def _real_place(path: Path) -> Path:
    """Return a path whose folder has no links; the name itself may be one."""
    return Path(os.path.realpath(path.parent)) / path.name


def _existing(folder: Path) -> Path:
    """Return the innermost folder that exists: a new file may be in a new folder."""
    return next(each for each in (folder, *folder.parents) if each.is_dir())
