"""Read commits from the history of local git repositories."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from training.collect import LANGUAGES
from training.formats import Commit
from workspace.git import NO_DIFF_PROGRAMS, GitError, run_git

_MAX_FILE_CHARACTERS = 40_000
_TIMEOUT_S = 300.0
_MAX_BYTES = 1 << 30
_RECORD_SEPARATOR = "\x1e"


def read_commits(repository: Path) -> Iterator[Commit]:
    """Yield the commits on a repository's first-parent line that change exactly one source file.

    The message of a commit that changes several files describes none of them. A folder without a
    history yields nothing.
    """
    log_format = f"--format={_RECORD_SEPARATOR}%H%x00%B%x00"
    log = _git(repository, "log", *NO_DIFF_PROGRAMS, "--first-parent", log_format, "--name-status")
    for record in log.split(_RECORD_SEPARATOR)[1:]:
        revision, message, names = record.split("\x00")
        changes = [line.split("\t") for line in names.splitlines() if line.strip()]
        files = [file for state, *file in changes if state == "M"]
        if len(changes) != 1 or not files or not message.strip():
            continue
        name = files[0][0]
        if Path(name).suffix not in LANGUAGES:
            continue
        before = _git(repository, "cat-file", "blob", f"{revision}~1:{name}")
        after = _git(repository, "cat-file", "blob", f"{revision}:{name}")
        if 0 < len(before) <= _MAX_FILE_CHARACTERS and 0 < len(after) <= _MAX_FILE_CHARACTERS:
            yield Commit(message.splitlines()[0], before, after)


def _git(repository: Path, *arguments: str) -> str:
    """Return the output of a git command; an empty string if it fails."""
    try:
        output = run_git(repository, *arguments, timeout_s=_TIMEOUT_S, max_bytes=_MAX_BYTES)
    except GitError:
        return ""
    return output.decode("utf-8", "replace")
