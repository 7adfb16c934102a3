"""Files in which nothing is suggested: by pattern, by git, by size and content."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from lsp_server.session.exclusions import MAX_CHARACTERS, Exclusions, unsuitable_text
from lsp_server.session.uris import uri_of
from lsp_server.settings import Settings
from tests.workspace.git_oracle import git, make_repository

FOLDER = "file:///home/me/project"


async def is_excluded(
    pattern: str | Sequence[str], uri: str, *folders: str, default: str = FOLDER
) -> bool:
    patterns = [pattern] if isinstance(pattern, str) else pattern
    exclusions = Exclusions(patterns, folder_uris=lambda: folders or (default,))
    return await exclusions.reason(uri, checks_git=False) is not None


@pytest.mark.parametrize(
    ("name", "expected"),
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
async def test_files_with_secrets_are_excluded_by_default(name: str, expected: bool) -> None:
    for folder in (f"{FOLDER}/", "file:///elsewhere/", "untitled:", "vscode-vfs://github/a/b/"):
        assert await is_excluded(Settings().exclude, f"{folder}{name}") is expected


@pytest.mark.parametrize(
    ("pattern", "excluded", "others"),
    [
        ("prod.py", ["prod.py", "config/prod.py"], ["xprod.py", "prod.pyi"]),
        ("config/prod.py", ["config/prod.py"], ["prod.py", "a/config/prod.py"]),
        ("/config/prod.py", ["config/prod.py"], ["a/config/prod.py"]),
        ("/a.py", ["a.py"], ["b/a.py"]),
        ("config/*.py", ["config/prod.py"], ["config/a/prod.py", "a/config/prod.py"]),
        ("deploy/vault/", ["deploy/vault/a.py", "deploy/vault/b/c.py"], ["deploy/vault"]),
        ("/deploy/", ["deploy/a.py"], ["a/deploy/a.py", "deploy"]),
        ("**/vault/*.py", ["vault/a.py", "a/b/vault/a.py"], ["vault/a/b.py"]),
        ("a/**/b.py", ["a/b.py", "a/x/y/b.py"], ["b.py", "x/a/b.py"]),
        ("a/**", ["a/b.py", "a/x/y.py"], ["a"]),
        (["*.sql", "!keep.sql"], ["a.sql", "x/a.sql"], ["keep.sql", "x/keep.sql"]),
        (["vault/", "!vault/a.py"], ["vault/a.py"], ["a.py"]),
        (["vault/*", "!vault/a.py"], ["vault/b.py"], ["vault/a.py"]),
        (["*", "!*/", "!*.py"], ["a.txt", "x/a.txt"], ["a.py", "x/y/a.py"]),
        ("[ab].py", ["a.py", "x/b.py"], ["c.py"]),
        ("\\!a.py", ["!a.py"], ["a.py"]),
        ("a b.py", ["a b.py"], ["a", "b.py"]),
        (["# a.py", ""], [], ["a.py", "# a.py"]),
        ("größe/", ["größe/a.py"], ["a.py"]),
        ("home", [], ["a.py"]),
        ("/home/me/project/a.py", [], ["a.py"]),
        ("project/", [], ["a.py"]),
    ],
)
async def test_patterns_are_relative_to_the_workspace_folder_as_in_gitignore(
    pattern: str | Sequence[str], excluded: list[str], others: list[str]
) -> None:
    names = [*excluded, *others]
    shown = [
        name
        for name in names
        if await is_excluded(pattern, uri_of(Path(f"/home/me/project/{name}")))
    ]
    assert shown == excluded


@pytest.mark.parametrize(
    ("pattern", "uri", "folders", "expected"),
    [
        ("/a.py", "file:///w/sub/a.py", ["file:///w", "file:///w/sub"], True),
        ("sub/a.py", "file:///w/sub/a.py", ["file:///w"], True),
        ("/b.py", "file:///w/b.py", ["file:///other", "file:///w/"], True),
        ("/w", "file:///w/b.py", ["file:///w"], False),
        ("/a.py", "file:///w%20x/a.py", ["file:///w x"], True),
        # A folder whose name begins like the document's.
        ("/a.py", "file:///work2/a.py", ["file:///work"], True),
        ("x/a.py", "file:///work2/y/a.py", ["file:///work"], False),
        # Documents in no folder.
        ("*.pem", "file:///etc/a.pem", ["file:///w"], True),
        ("vault/", "file:///x/vault/a.py", ["file:///w"], True),
        ("vault/a.py", "file:///x/vault/a.py", [], True),
        ("/a.py", "file:///x/a.py", [], True),
        ("b/a.py", "file:///x/a.py", [], False),
        # Other schemes.
        ("*.pem", "untitled:server.pem", ["file:///w"], True),
        ("*.pem", "untitled:Untitled-1", ["file:///w"], False),
        ("config/a.py", "untitled:/w/config/a.py", ["file:///w"], True),
        ("/src/a.py", "vscode-vfs://github/me/p/src/a.py", ["vscode-vfs://github/me/p"], True),
        ("github", "vscode-vfs://github/me/p/src/a.py", ["vscode-vfs://github/me/p"], False),
        ("me", "vscode-vfs://github/me/p/src/a.py", ["vscode-vfs://github/me/p"], False),
        ("/p/a.py", "vscode-vfs://github/p/a.py", ["vscode-vfs://gitlab/p"], True),
        (
            "/a.py",
            "vscode-remote://ssh-remote%2Bbox/p/a.py",
            ["vscode-remote://ssh-remote+box/p"],
            True,
        ),
        ("secrets.*", "inmemory://model/secrets.py", [], True),
        ("secrets.*", "inmemory://model/1", [], False),
        ("*.class", "jdt://contents/java.base/java.lang/String.class?=p/x", [], True),
        ("nb/", "vscode-notebook-cell:/w/nb/a.ipynb#W0s", ["file:///w"], True),
        ("/nb/a.ipynb", "vscode-notebook-cell:/w/nb/a.ipynb#W0s", ["file:///w"], True),
        ("w", "vscode-notebook-cell:/w/nb/a.ipynb#W0s", ["file:///w"], False),
        ("*.py", "file://", [], False),
        ("*.py", "unknown:", [], False),
    ],
)
async def test_each_document_is_matched_by_its_place(
    pattern: str, uri: str, folders: list[str], expected: bool
) -> None:
    exclusions = Exclusions([pattern], folder_uris=lambda: folders)
    assert bool(await exclusions.reason(uri, checks_git=False)) is expected


async def test_a_folder_or_document_may_be_named_by_a_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real" / "project", tmp_path / "link"
    (real / "config").mkdir(parents=True)
    link.symlink_to(real)
    for folder, named in ((link, real), (real, link), (link, link), (real, real)):
        uri = (named / "config" / "a.py").as_uri()
        assert await is_excluded("/config/a.py", uri, folder.as_uri())
        # Folders above the workspace do not count, by neither name.
        for above in ("real", "project", tmp_path.name, "link"):
            assert not await is_excluded(above, uri, folder.as_uri())


async def test_a_file_stays_excluded_under_the_name_of_a_link(tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "vault").mkdir(parents=True)
    (project / "vault" / "a.py").write_text("")
    (project / "ok.py").symlink_to(project / "vault" / "a.py")
    (project / "env.py").symlink_to(tmp_path / ".env")
    (project / "own.py").symlink_to(tmp_path / "target.py")
    exclusions = Exclusions(
        ["/vault/", ".env", tmp_path.name], folder_uris=lambda: [project.as_uri()]
    )
    names = ("ok.py", "env.py", "own.py")
    assert [exclusions.allows(project / name) for name in names] == [False, False, True]
    for name, expected in zip(names, (True, True, False), strict=True):
        reason = await exclusions.reason((project / name).as_uri(), checks_git=False)
        assert bool(reason) is expected


# What git ignores.


@pytest.fixture(params=["git", "reader"])
def ignored(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., bool]:
    """A function that asks, with and without git. The user's configuration is in tmp_path/home."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    exclusions = Exclusions(gitignore=True, use_git=request.param == "git")

    def ask(path: Path) -> bool:
        return exclusions.is_ignored(path)

    return ask


def write(file: Path, text: str = "") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def test_nested_rules_and_negation(tmp_path: Path, ignored: Callable[..., bool]) -> None:
    root = make_repository(tmp_path / "r")
    write(root / ".gitignore", "*.log\nbuild/\n!important.log\n/only-here.py\n")
    write(root / "sub" / ".gitignore", "!keep.log\nlocal.py\n/rooted.py\n")
    write(root / "build" / "a.py")
    expected = {
        "a.py": False,
        "a.log": True,
        "important.log": False,
        "build/a.py": True,
        "build/new/folder/a.py": True,
        "sub/keep.log": False,
        "sub/local.py": True,
        "local.py": False,
        "sub/rooted.py": True,
        "rooted.py": False,
        "only-here.py": True,
        "sub/only-here.py": False,
        "no/such/folder/a.log": True,
    }
    assert {name: ignored(root / name) for name in expected} == expected


def test_the_rules_of_the_clone_and_of_the_user(
    tmp_path: Path, ignored: Callable[..., bool]
) -> None:
    root = make_repository(tmp_path / "r")
    write(root / ".git" / "info" / "exclude", "/clone.py\n")
    write(tmp_path / "home" / ".config" / "git" / "ignore", "user.py\nboth.py\n")
    write(root / ".gitignore", "!both.py\n")
    names = ("clone.py", "sub/clone.py", "user.py", "sub/user.py", "both.py", "a.py")
    assert [ignored(root / name) for name in names] == [True, False, True, True, False, False]


@pytest.mark.parametrize(
    "line", ["!", "\\", "foo\\", "[z-a]", "[", "[[:x:]]", "\udcff", "/", "//", "#"]
)
def test_lines_that_git_skips_are_skipped(
    tmp_path: Path, ignored: Callable[..., bool], line: str
) -> None:
    root = make_repository(tmp_path / "r")
    (root / ".gitignore").write_bytes(f"a.py\n{line}\nb.py\r\n".encode("utf-8", "surrogateescape"))
    names = ("a.py", "b.py", "c.py", "foo", "y")
    assert [ignored(root / name) for name in names] == [True, True, False, False, False]


def test_a_worktree_and_a_submodule_have_their_own_rules(
    tmp_path: Path, ignored: Callable[..., bool]
) -> None:
    root = make_repository(tmp_path / "r")
    write(root / ".gitignore", "outer.py\n")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "x")
    git(root, "worktree", "add", "-q", str(tmp_path / "tree"))
    write(root / ".git" / "info" / "exclude", "clone.py\n")
    inner = make_repository(tmp_path / "inner")
    write(inner / ".gitignore", "inner.py\n")
    git(inner, "add", ".")
    git(inner, "commit", "-q", "-m", "x")
    git(
        root,
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "--quiet",
        "add",
        str(inner),
        "library",
    )
    tree, library = tmp_path / "tree", root / "library"
    assert (tree / ".git").is_file()
    assert (library / ".git").is_file()
    names = ("outer.py", "clone.py", "inner.py", "a.py")
    assert [ignored(tree / name) for name in names] == [True, True, False, False]
    assert [ignored(library / name) for name in names] == [False, False, True, False]


def test_a_repository_above_the_workspace_counts(
    tmp_path: Path, ignored: Callable[..., bool]
) -> None:
    root = make_repository(tmp_path / "r")
    write(root / ".gitignore", "packages/*/generated.py\n")
    assert ignored(root / "packages" / "a" / "generated.py")
    assert not ignored(root / "packages" / "a" / "b" / "generated.py")


def test_links_are_ignored_by_their_name_and_what_they_contain_by_its_place(
    tmp_path: Path, ignored: Callable[..., bool]
) -> None:
    root = make_repository(tmp_path / "r")
    write(root / ".gitignore", "build\nlink-out\nlink.py\n")
    write(root / "build" / "a.py")
    write(root / "src" / "a.py")
    write(tmp_path / "elsewhere" / "a.py")
    other = make_repository(tmp_path / "other")
    write(other / "a.py")
    (tmp_path / "linked-root").symlink_to(root)
    for name, target in (
        ("output", root / "build"),
        ("sources", root / "src"),
        ("link-out", tmp_path / "elsewhere"),
        ("library", other),
    ):
        (root / name).symlink_to(target)
    (root / "link.py").symlink_to("src/a.py")
    (root / "kept.py").symlink_to("build/a.py")
    (tmp_path / "other" / "link-out").symlink_to(root / "src")
    expected = {
        "r/build/a.py": True,
        "r/output/a.py": True,
        "r/sources/a.py": False,
        "r/link-out/a.py": True,
        "r/library/a.py": False,
        "r/link.py": True,
        "r/kept.py": False,  # git does not ignore this link
        "linked-root/build/a.py": True,
        "linked-root/src/a.py": False,
        "elsewhere/a.py": False,
        "other/link-out/a.py": False,
    }
    assert {name: ignored(tmp_path / name) for name in expected} == expected


def test_a_tracked_file_is_not_ignored(tmp_path: Path) -> None:
    root = make_repository(tmp_path / "r")
    write(root / ".gitignore", "*.py\n")
    file = write(root / "tracked.py")
    exclusions = Exclusions(gitignore=True)
    assert exclusions.is_ignored(file)
    git(root, "add", "-f", "tracked.py")
    assert not exclusions.is_ignored(file)  # the index has changed
    git(root, "rm", "-q", "--cached", "tracked.py")
    assert exclusions.is_ignored(file)


def test_the_excludes_file_is_the_users_and_not_the_repositorys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    write(home / ".gitconfig", "[core]\n\texcludesFile = ~/my ignore\n")
    write(home / "my ignore", "mine.py\n")
    write(home / ".config" / "git" / "ignore", "default.py\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    root = make_repository(tmp_path / "r")
    write(tmp_path / "planted", "theirs.py\n")
    git(root, "config", "core.excludesFile", str(tmp_path / "planted"))
    names = ("mine.py", "default.py", "theirs.py")
    exclusions = Exclusions(gitignore=True)
    assert [exclusions.is_ignored(root / name) for name in names] == [True, False, False]
    # The user's configuration has changed.
    write(home / ".gitconfig", f'[includeIf "gitdir:{root}/"]\n\tpath = ~/for-work\n')
    write(home / "for-work", "[core]\n\texcludesFile = ~/work\n")
    write(home / "work", "default.py\n")
    assert [exclusions.is_ignored(root / name) for name in names] == [False, True, False]


@pytest.mark.parametrize("changed", [".gitignore", "sub/.gitignore", ".git/info/exclude"])
def test_a_changed_rule_counts_immediately(
    tmp_path: Path, ignored: Callable[..., bool], changed: str
) -> None:
    root = make_repository(tmp_path / "r")
    file = write(root / "sub" / "a.py")
    assert not ignored(file)
    write(root / changed, "a.py\n")
    assert ignored(file)
    (root / changed).unlink()
    assert not ignored(file)


def test_a_folder_becomes_a_repository(tmp_path: Path, ignored: Callable[..., bool]) -> None:
    file = write(tmp_path / "r" / "a.py")
    write(tmp_path / "r" / ".gitignore", "*\n")
    assert not ignored(file)
    make_repository(tmp_path / "r")
    assert ignored(file)


def test_the_rules_of_a_repository_that_git_refuses_are_read_without_git(tmp_path: Path) -> None:
    root = make_repository(tmp_path / "r")
    write(root / ".gitignore", "a.py\n")
    write(root / ".git" / "config", "[core\n")
    exclusions = Exclusions(gitignore=True)
    assert [exclusions.is_ignored(root / name) for name in ("a.py", "b.py")] == [True, False]


@pytest.mark.parametrize("fifo", [".gitignore", ".git/info/exclude", ".git/config"])
def test_a_fifo_delays_the_answer_only_once(tmp_path: Path, fifo: str) -> None:
    root = make_repository(tmp_path / "r")
    write(root / "sub" / ".gitignore", "a.py\n")
    (root / fifo).unlink(missing_ok=True)
    os.mkfifo(root / fifo)
    exclusions = Exclusions(gitignore=True)
    started = time.monotonic()
    assert exclusions.is_ignored(root / "sub" / "a.py")
    assert time.monotonic() - started < 8
    started = time.monotonic()
    assert exclusions.is_ignored(root / "sub" / "a.py")
    assert time.monotonic() - started < 0.5


async def test_what_git_ignores_is_respected_only_on_request(tmp_path: Path) -> None:
    root = make_repository(tmp_path / "r")
    write(root / ".gitignore", "*\n")
    uri = (root / "a.py").as_uri()
    exclusions = Exclusions(gitignore=True)
    assert await exclusions.reason(uri, checks_git=True) == "git ignores this file"
    assert await exclusions.reason(uri, checks_git=False) is None
    assert await Exclusions(gitignore=False).reason(uri, checks_git=True) is None
    for other in ("untitled:Untitled-1", "vscode-vfs://github/a/b.py", "inmemory://model/1"):
        assert await exclusions.reason(other, checks_git=True) is None


def test_large_and_binary_texts_are_unsuitable() -> None:
    assert unsuitable_text("x" * (MAX_CHARACTERS + 1))
    assert unsuitable_text("a\0b")
    assert unsuitable_text("") is None
