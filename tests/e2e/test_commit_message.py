"""`starcoder/commitMessage` in every kind of folder: a message, or one clear sentence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.client import scripted
from tests.raw_client import RawProcess, raw_process
from tests.workspace.git_oracle import git, make_repository


@pytest.fixture(scope="module")
def client() -> Iterator[RawProcess]:
    with raw_process(scripted("Bake bread")) as process:
        process.initialize()
        yield process


def ask(client: RawProcess, uri: str | None) -> Any:
    return client.request("starcoder/commitMessage", {"uri": uri})


def message(client: RawProcess, uri: str | None) -> str:
    return str(ask(client, uri)["result"]["message"])


def error(client: RawProcess, uri: str | None) -> str:
    text = str(ask(client, uri)["error"]["message"])
    assert text.endswith(".")
    assert "\n" not in text
    return text


def staged(folder: Path) -> Path:
    make_repository(folder)
    (folder / "a.py").write_text("x = 1\n")
    git(folder, "add", "a.py")
    return folder


def test_a_repository_without_commits(client: RawProcess, tmp_path: Path) -> None:
    assert "Bake bread" in message(client, staged(tmp_path / "r").as_uri())


def test_any_path_in_a_repository_names_it(client: RawProcess, tmp_path: Path) -> None:
    root = staged(tmp_path / "Jörg's [new] + repository")
    (root / "inner").mkdir()
    for path in ("a.py", "inner", "inner/new.py", "no/such/folder/a.py"):
        assert "Bake bread" in message(client, (root / path).as_uri())


def test_a_worktree_and_a_link_to_a_repository(client: RawProcess, tmp_path: Path) -> None:
    root = staged(tmp_path / "r")
    git(root, "commit", "-q", "-m", "x")
    git(root, "worktree", "add", "-q", str(tmp_path / "tree"))
    (tmp_path / "tree" / "a.py").write_text("x = 2\n")
    git(tmp_path / "tree", "add", ".")
    (tmp_path / "link").symlink_to(tmp_path / "tree")
    for name in ("tree", "link", "link/a.py"):
        assert "Bake bread" in message(client, (tmp_path / name).as_uri())


def test_nothing_is_staged(client: RawProcess, tmp_path: Path) -> None:
    assert "staged" in error(client, make_repository(tmp_path / "r").as_uri())


def test_folders_without_a_working_tree(client: RawProcess, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    git(tmp_path, "init", "-q", "--bare", "bare")
    root = staged(tmp_path / "r")
    for folder in (plain, plain / "new.py", tmp_path / "bare", root / ".git", tmp_path / "none"):
        assert "not in the working tree of a git repository" in error(client, folder.as_uri())


@pytest.mark.parametrize(
    "uri", ["untitled:Untitled-1", "vscode-vfs://github/a/b", "inmemory://model/1", "jdt://x/y"]
)
def test_a_document_of_another_scheme(client: RawProcess, uri: str) -> None:
    assert "is not a file of this machine" in error(client, uri)


def test_no_folder_is_open(client: RawProcess) -> None:
    assert "No folder is open" in error(client, None)


def test_the_first_workspace_folder_with_staged_changes_is_used(tmp_path: Path) -> None:
    plain, clean = tmp_path / "plain", make_repository(tmp_path / "clean")
    plain.mkdir()
    with raw_process(scripted("Bake bread")) as process:
        folders = [
            {"uri": folder.as_uri(), "name": folder.name}
            for folder in (plain, clean, staged(tmp_path / "r"))
        ]
        params = {"processId": None, "capabilities": {}, "workspaceFolders": folders[:1]}
        process.request("initialize", params)
        process.notify("initialized", {})
        assert "not in the working tree" in error(process, None)
        change = {"event": {"added": folders[1:2], "removed": []}}
        process.notify("workspace/didChangeWorkspaceFolders", change)
        assert "staged" in error(process, None)
        change = {"event": {"added": folders[2:], "removed": []}}
        process.notify("workspace/didChangeWorkspaceFolders", change)
        assert "Bake bread" in message(process, None)
