"""Commits, from the history of git repositories on this machine."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

from training.collect import LANGUAGES
from training.formats import Commit

_MAX_FILE = 40_000
_RECORD = "\x1e"


def commits(repository: Path) -> Iterator[Commit]:
    """Yield the changes of a repository's first parents: those that touch one source file.

    A commit over several files has a message that is about none of them. Yields nothing where
    there is no history.
    """
    form = f"--format={_RECORD}%H%x00%B%x00"
    log = _git(repository, "log", "--first-parent", form, "--name-status")
    for record in log.split(_RECORD)[1:]:
        revision, message, names = record.split("\x00")
        touched = [line.split("\t") for line in names.splitlines() if line.strip()]
        files = [file for state, *file in touched if state == "M"]
        if len(touched) != 1 or not files or not message.strip():
            continue
        name = files[0][0]
        if Path(name).suffix not in LANGUAGES:
            continue
        before = _git(repository, "show", f"{revision}~1:{name}")
        after = _git(repository, "show", f"{revision}:{name}")
        if 0 < len(before) <= _MAX_FILE and 0 < len(after) <= _MAX_FILE:
            yield Commit(message.splitlines()[0], before, after)


def _git(repository: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(repository), *arguments], capture_output=True, check=False
    )
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""
