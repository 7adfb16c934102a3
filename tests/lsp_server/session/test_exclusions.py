"""Files in which nothing is suggested: by pattern, by git, by what they are."""

from pathlib import Path

import pytest

from lsp_server.session.exclusions import MAX_CHARACTERS, Exclusions, is_ignored, unsuitable_text
from lsp_server.settings import Settings


@pytest.mark.parametrize(
    ("name", "excluded"),
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
def test_secrets_are_excluded_from_the_start(name: str, excluded: bool) -> None:
    reason = Exclusions(Settings().exclude).by_pattern(f"file:///home/me/project/{name}")
    assert (reason is not None) is excluded


def test_a_users_patterns_are_those_of_gitignore() -> None:
    found = Exclusions(["generated/", "*.sql", "!keep.sql"])
    assert found.by_pattern("file:///p/generated/a.py")
    assert found.by_pattern("file:///p/a.sql")
    assert found.by_pattern("file:///p/keep.sql") is None
    assert found.by_pattern("untitled:Untitled-1") is None


def test_git_ignores_by_the_nearest_word(tmp_path: Path) -> None:
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


async def test_no_repository_ignores_nothing(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("*\n")
    uri = (tmp_path / "a.py").as_uri()
    assert await Exclusions([], gitignore=True).by_git(uri) is None
    (tmp_path / ".git").mkdir()
    found = Exclusions([], gitignore=True)
    assert await found.by_git(uri) == "git ignores this file"
    assert await Exclusions([], gitignore=False).by_git(uri) is None
    # A changed .gitignore is seen when the file is opened again.
    (tmp_path / ".gitignore").write_text("")
    assert await found.by_git(uri)
    found.forget(uri)
    assert await found.by_git(uri) is None


def test_large_and_binary_files() -> None:
    assert unsuitable_text("x" * (MAX_CHARACTERS + 1))
    assert unsuitable_text("a\0b")
    assert unsuitable_text("") is None
