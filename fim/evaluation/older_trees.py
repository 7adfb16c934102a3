"""Added lines of a project, and the project as it was before they were added.

The older tree is a private copy on disk of the source files alone. The file in which a hole is cut
is the newer one; all else that a suggestion can use is in the older tree.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path, PurePosixPath

from engine.errors import ConfigurationError
from fim.context.files import MAX_FILES
from fim.evaluation.added_lines import find_added
from fim.evaluation.commit_edits import CommitEdit, edits_between
from fim.evaluation.files import MAX_BYTES, File, is_usable, source_files
from syntax.languages import LANGUAGES
from workspace.git import GitError
from workspace.history import TreeFile, list_commits, list_tree, read_blobs

MAX_COMMITS = 20
"""Maximum number of commits whose added lines are used; of more, they are drawn at random."""
MAX_CHANGED_FILES = 100
"""Maximum source files that a commit changes. Larger ones are imports or new formatting."""
_MAX_LISTED = 10_000
_MAX_TREE_BYTES = 50_000_000


@dataclass(frozen=True, slots=True)
class CommitCounts:
    """What became of the commits of a range."""

    used: int
    too_large: int
    """Commits that change more than `MAX_CHANGED_FILES` source files."""


@contextmanager
def private_folder() -> Iterator[Path]:
    """Yield a folder that only the user can read, and delete it at the end."""
    with tempfile.TemporaryDirectory(prefix="starcoder-eval-") as folder:
        yield Path(folder).resolve()


def added_since(newer: Path, older: Path, scratch: Path) -> list[File]:
    """Return the source files of a folder with the lines that an older folder does not have.

    The older tree is copied to `scratch`. Raises ConfigurationError if a folder is missing, or if
    the two have no file in common.
    """
    new = {file.path: file.text for file in source_files(newer)}
    old = {file.path: file.text for file in source_files(older)}
    if not new.keys() & old.keys():
        raise ConfigurationError(
            f"{older} has no source file with the same path as one in {newer}. Give the two "
            "folders that correspond to each other."
        )
    label = older.resolve().name or "older"
    root = scratch / label / newer.resolve().name
    _write_tree(root, old)
    changed_old = {path: text for path, text in old.items() if new.get(path) != text}
    changed_new = {path: text for path, text in new.items() if old.get(path) != text}
    return _added_files(f"@{label}", root, changed_old, changed_new)


def added_in_commits(
    folder: Path, commits: str, seed: int, scratch: Path
) -> tuple[list[File], CommitCounts]:
    """Return the files that commits changed with the lines that they added, and counts.

    `commits` is a number, of the newest ones, or a range in git's notation. The tree before each
    commit is copied to `scratch`. Raises ConfigurationError if git cannot read the folder.
    """
    history = _History(folder)
    files: list[File] = []
    used = too_large = 0
    try:
        for commit in _draw_commits(folder, commits, seed):
            if used == MAX_COMMITS:
                break
            change = history.change(commit)
            if len(change.new) > MAX_CHANGED_FILES:
                too_large += 1
                continue
            label = commit[:12]
            root = scratch / label / folder.resolve().name
            old, new = history.texts(change.old), history.texts(change.new)
            edits = edits_between(old, new)
            if added := _added_files(f"@{label}", root, old, new, edits):
                _write_tree(root, history.texts(change.tree))
                files += added
                used += 1
    except GitError as error:
        raise ConfigurationError(f"The commits of {folder} cannot be read: {error}") from None
    return files, CommitCounts(used, too_large)


def _draw_commits(folder: Path, commits: str, seed: int) -> list[str]:
    if commits.isdecimal():
        listed = list_commits(folder, "HEAD", min(int(commits), _MAX_LISTED))
    else:
        listed = list_commits(folder, commits, _MAX_LISTED)
    if len(listed) > MAX_COMMITS:
        random.Random(seed).shuffle(listed)
    return listed


@dataclass(frozen=True, slots=True)
class _Change:
    tree: Sequence[TreeFile]
    """The source files before the commit, up to the limits."""
    old: Sequence[TreeFile]
    """The source files that the commit changed or deleted, as they were before it."""
    new: Sequence[TreeFile]
    """The source files that the commit changed or added, as they are after it."""


class _History:
    """Reads the commits of one folder; a content that many commits share is read once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._texts: dict[str, str] = {}
        """The usable texts, by the names of their contents."""
        self._read: set[str] = set()
        """The names of all contents that were read."""

    def change(self, commit: str) -> _Change:
        """Return what a commit changed. Raises GitError."""
        before, after = self._source_files(f"{commit}^"), self._source_files(commit)
        return _Change(
            _limited(before), _without_equal(before, after), _without_equal(after, before)
        )

    def texts(self, files: Sequence[TreeFile]) -> dict[str, str]:
        """Return the texts of files by their paths, without files that are no usable text."""
        unread = [file for file in files if file.blob not in self._read]
        for blob, content in read_blobs(self._folder, unread).items():
            self._read.add(blob)
            text = _decode(content)
            if text is not None and is_usable(text):
                self._texts[blob] = text
        return {file.path: self._texts[file.blob] for file in files if file.blob in self._texts}

    def _source_files(self, commit: str) -> list[TreeFile]:
        return [
            file
            for file in list_tree(self._folder, commit)
            if PurePosixPath(file.path).suffix in LANGUAGES and file.size <= MAX_BYTES
        ]


def _limited(files: Sequence[TreeFile]) -> list[TreeFile]:
    """Return as many files as a project may have, in the order of their paths."""
    sizes = accumulate(file.size for file in files[:MAX_FILES])
    return [file for file, total in zip(files, sizes, strict=False) if total <= _MAX_TREE_BYTES]


def _without_equal(files: Sequence[TreeFile], others: Sequence[TreeFile]) -> list[TreeFile]:
    """Return the files that are not the same in another tree."""
    blobs = {file.path: file.blob for file in others}
    return [file for file in files if blobs.get(file.path) != file.blob]


def _decode(content: bytes) -> str | None:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _added_files(
    label: str,
    root: Path,
    old: Mapping[str, str],
    new: Mapping[str, str],
    edits: tuple[CommitEdit, ...] = (),
) -> list[File]:
    """Return the newer files with added lines, as files of the older tree at `root`.

    `old` and `new` are the files that are not the same in both trees. `edits` are those of the
    commit between them; between releases lies more than what somebody edits in one sitting.
    """
    return [
        File(
            path=f"{label}/{path}",
            language=LANGUAGES[PurePosixPath(path).suffix],
            text=new[path],
            root=root,
            absolute_path=root / path,
            added=added,
            edits=edits,
        )
        for path, added in find_added(old, new).items()
    ]


def _write_tree(root: Path, texts: Mapping[str, str]) -> None:
    root.mkdir(parents=True)
    for path, text in texts.items():
        file = root / path
        # A damaged tree can name one path as a file and as a folder.
        with suppress(FileExistsError, NotADirectoryError, IsADirectoryError):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(text.encode())
