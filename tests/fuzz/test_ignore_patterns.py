"""Random ignore files: the reader agrees with git, and no line takes long."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.conftest import FUZZING
from tests.workspace.git_oracle import ignored_by_git, make_repository
from workspace.ignore_patterns import IgnoreFile, is_excluded, names_of, parse_file
from workspace.repository import is_ignored

pieces = st.sampled_from(
    [
        *("a", "b", "c", "ab", "*", "**", "/", "/", "?", "!", "\\", " ", "#", "-", "]", "ö", "^"),
        *("[ab]", "[!a]", "[^b]", "[a-c]", "[c-a]", "[", "[]]", "[a/b]", "[\\]a]", "[[:alpha:]]"),
        *("[[:x:]]", "[[:]", "\\ ", "\\*", "\\/", "\r", "\t", ".", "**/", "/**", "*a", "\xff"),
    ]
)
lines = st.lists(pieces, min_size=1, max_size=6).map("".join)
ignore_files = st.lists(lines, max_size=5).map(lambda each: "\n".join(each) + "\n")
names = st.sampled_from(
    ["a", "b", "c", "ab", "ba", "abc", "a b", "!a", "#a", "]", "-", "^", "[a", "ö", "A", "a*", ".a"]
)
paths = st.lists(names, min_size=1, max_size=4).map("/".join)
files = paths.filter(lambda path: path not in ("a", "a/b"))  # which are folders


@pytest.fixture(scope="module")
def repository() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        root = make_repository(Path(folder).resolve() / "r")
        (root / "a" / "b").mkdir(parents=True)
        yield root


@FUZZING
@given(
    outer=ignore_files,
    inner=ignore_files,
    local=ignore_files,
    asked=st.lists(files, min_size=1, max_size=12, unique=True),
)
def test_the_reader_agrees_with_git(
    repository: Path, outer: str, inner: str, local: str, asked: list[str]
) -> None:
    for file, text in (
        (repository / ".gitignore", outer),
        (repository / "a" / ".gitignore", inner),
        (repository / ".git" / "info" / "exclude", local),
    ):
        file.unlink(missing_ok=True)  # so that the file is another one also within one tick
        file.write_bytes(text.encode().replace("\xff".encode(), b"\xff"))
    expected = ignored_by_git(repository, asked)
    assert {path for path in asked if is_ignored(repository / path)} == expected


@FUZZING
@given(text=st.text(alphabet="a*?[]!\\/-: ", max_size=60), path=st.text("a/", max_size=300))
def test_no_line_takes_long(text: str, path: str) -> None:
    started = time.perf_counter()
    patterns = parse_file(os.fsencode(text * 8))
    is_excluded(names_of(path), [IgnoreFile(patterns)])
    assert time.perf_counter() - started < 0.5
