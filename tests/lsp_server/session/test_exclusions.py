"""Files in which nothing is suggested: by pattern, by git, by size and content."""

from pathlib import Path

import pytest

from lsp_server.session.exclusions import MAX_CHARACTERS, Exclusions, is_ignored, unsuitable_text
from lsp_server.settings import Settings


@pytest.mark.parametrize(
    ("name", "is_excluded"),
    [
        (".env", True),
        (".env.local", True),
        ("server.pem", True),
        ("id_rsa", True),
        ("a.py", False),
        ("env.py", False),
        ("keys.py", False),
        ("monkey.py", False),
    ],
)
def test_files_with_secrets_are_excluded_by_default(name: str, is_excluded: bool) -> None:
    reason = Exclusions(Settings().exclude).by_pattern(f"file:///home/me/project/{name}")
    assert (reason is not None) is is_excluded


def test_patterns_work_as_in_gitignore() -> None:
    exclusions = Exclusions(["generated/", "*.sql", "!keep.sql"])
    assert exclusions.by_pattern("file:///p/generated/a.py")
    assert exclusions.by_pattern("file:///p/a.sql")
    assert exclusions.by_pattern("file:///p/keep.sql") is None
    assert exclusions.by_pattern("untitled:Untitled-1") is None


def test_the_nearest_gitignore_overrides_those_above(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".gitignore").write_text("*.log\nbuild/\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / ".gitignore").write_text("!keep.log\nlocal.py\n")
    ignored = {
        name: is_ignored(tmp_path / name)
        for name in ("a.py", "a.log", "build/a.py", "sub/keep.log", "sub/local.py", "local.py")
    }
    assert ignored == {
        "a.py": False,
        "a.log": True,
        "build/a.py": True,
        "sub/keep.log": False,
        "sub/local.py": True,
        "local.py": False,
    }


async def test_a_gitignore_counts_only_in_a_repository_and_if_respected(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("*\n")
    uri = (tmp_path / "a.py").as_uri()
    assert await Exclusions([], gitignore=True).by_git(uri) is None
    (tmp_path / ".git").mkdir()
    assert await Exclusions([], gitignore=True).by_git(uri) == "git ignores this file"
    assert await Exclusions([], gitignore=False).by_git(uri) is None


async def test_a_changed_gitignore_is_read_when_a_file_is_opened_again(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".gitignore").write_text("*\n")
    uri = (tmp_path / "a.py").as_uri()
    exclusions = Exclusions([], gitignore=True)
    assert await exclusions.by_git(uri)
    (tmp_path / ".gitignore").write_text("")
    assert await exclusions.by_git(uri)
    exclusions.forget(uri)
    assert await exclusions.by_git(uri) is None


def test_large_and_binary_texts_are_unsuitable() -> None:
    assert unsuitable_text("x" * (MAX_CHARACTERS + 1))
    assert unsuitable_text("a\0b")
    assert unsuitable_text("") is None
