"""The staged changes of a git repository."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from engine.errors import RequestError
from lsp_server.session.uris import folder_of
from workspace.git import GitError, NoRepositoryError, staged_diff

_MAX_DIFF_BYTES = 200_000
"""Maximum bytes of a diff; the rest is cut off."""


async def read_staged_diff(uris: Sequence[str]) -> str:
    """Return the first staged diff that is not empty, of the repositories of files or folders.

    It is empty if nothing is staged in any of them. Raises RequestError if none has a repository,
    or if git fails. git is stopped if the task is cancelled.
    """
    cancelled = threading.Event()
    try:
        return await asyncio.to_thread(_read_first, uris, cancelled.is_set)
    finally:
        cancelled.set()


def _read_first(uris: Sequence[str], should_stop: Callable[[], bool]) -> str:
    error: RequestError | None = None
    has_repository = False
    for uri in uris:
        try:
            if diff := _read(uri, should_stop):
                return diff
            has_repository = True
        except RequestError as caught:
            error = error or caught
    if error is not None and not has_repository:
        raise error
    return ""


def _read(uri: str, should_stop: Callable[[], bool]) -> str:
    path = folder_of(uri)
    if path is None:
        raise RequestError(
            f"{uri[:80]} is not a file of this machine, so it is in no git repository."
        )
    folder = _folder(path)
    try:
        return staged_diff(folder, _MAX_DIFF_BYTES, should_stop)
    except NoRepositoryError:
        raise RequestError(
            f"{folder} is not in the working tree of a git repository. Open a file of one, or run "
            "`git init` there."
        ) from None
    except GitError as error:
        raise RequestError(str(error)) from None


def _folder(path: Path) -> Path:
    """Return a folder, or the innermost folder of a file that exists."""
    for folder in (path, *path.parents):
        if folder.is_dir():
            return folder
    raise RequestError(f"{path} does not exist.")
