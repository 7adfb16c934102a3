"""The options `--since` and `--from-git`: added lines, in the project as it was before them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from engine.errors import ConfigurationError
from fim.evaluation.files import File
from fim.evaluation.older_trees import (
    MAX_CHANGED_FILES,
    MAX_COMMITS,
    CommitCounts,
    added_in_commits,
    added_since,
    private_folder,
)
from lsp_server.cli import common

Since = Annotated[
    Path | None,
    typer.Option(
        "--since",
        metavar="FOLDER",
        help="An older version of the folder, such as its previous release. Lines that it does not "
        "have are measured too, with its text as the rest of the project.",
    ),
]
FromGit = Annotated[
    str | None,
    typer.Option(
        "--from-git",
        metavar="COMMITS",
        help="A number of commits, or a range such as v1..v2. Lines that they added are measured "
        f"too, with the project as it was before. At most {MAX_COMMITS} commits are used.",
    ),
]

DIFFERENCE = (
    "Random lines overstate the benefit of the project's text, because new code repeats less than "
    "old code: the figure for added lines is the one that counts."
)
ONLY_RANDOM = (
    "These are random lines. They overstate the benefit of the project's text, because new code "
    "repeats less than old code: measure added lines with --since or --from-git."
)


@contextmanager
def added_files(
    paths: Sequence[Path], since: Path | None, from_git: str | None, seed: int
) -> Iterator[list[File]]:
    """Yield the files with added lines that the options ask for; their older trees exist meanwhile.

    Raises ConfigurationError for options that do not fit, and if no lines were added.
    """
    if since is None and from_git is None:
        yield []
        return
    option = "--since" if from_git is None else "--from-git"
    if since is not None and from_git is not None:
        raise ConfigurationError("Give either --since or --from-git.")
    if len(paths) != 1 or paths[0].is_file():
        raise ConfigurationError(f"Give exactly one folder with {option}.")
    with private_folder() as scratch:
        if since is not None:
            files = added_since(paths[0], since, scratch)
            if not files:
                raise ConfigurationError(f"{paths[0]} has no lines that {since} does not have.")
        else:
            files = _in_commits(paths[0], str(from_git), seed, scratch)
        yield files


def _in_commits(folder: Path, commits: str, seed: int, scratch: Path) -> list[File]:
    if not folder.is_dir():
        raise ConfigurationError(f"There is no folder {folder}.")
    files, counts = added_in_commits(folder, commits, seed, scratch)
    too_large = f" {_number(counts.too_large)} with more than {MAX_CHANGED_FILES} changed files"
    if not files:
        reason = f" There are{too_large}, which are left out." if counts.too_large else ""
        raise ConfigurationError(
            f"{commits}: no commit there adds lines to source files of {folder}.{reason} Merges "
            "and commits without a parent, at which a shallow clone ends, are left out."
        )
    _say(counts, too_large)
    return files


def _say(counts: CommitCounts, too_large: str) -> None:
    left_out = f";{too_large} left out" if counts.too_large else ""
    common.stderr().print(f"added lines of {_number(counts.used)}{left_out}")


def _number(count: int) -> str:
    return "1 commit" if count == 1 else f"{count} commits"
