"""Several, nested, linked and changing workspace folders: exclusions and related files."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from lsprotocol import types

from tests.e2e.client import Editor, scripted, start

BREAD = "def bake_bread(flour):\n    return oven(flour)\n"
CONTEXT = "from bread import bake_bread\n\n"


def folder(path: Path) -> types.WorkspaceFolder:
    return types.WorkspaceFolder(path.as_uri(), path.name)


def project(path: Path) -> Path:
    path.mkdir(parents=True)
    (path / "bread.py").write_text(BREAD)
    (path / "main.py").write_text("")
    return path


def change(editor: Editor, added: list[Path], removed: list[Path]) -> None:
    event = types.WorkspaceFoldersChangeEvent(
        added=[folder(path) for path in added], removed=[folder(path) for path in removed]
    )
    editor.client.workspace_did_change_workspace_folders(
        types.DidChangeWorkspaceFoldersParams(event)
    )


async def last_prompt(editor: Editor) -> str:
    return str((await editor.engine_requests())["texts"][-1])


async def has_related_files(editor: Editor, file: Path, seconds: float = 15.0) -> bool:
    """Whether the prompt of a document contains the other file after some keys."""
    editor.open(CONTEXT, uri=file.as_uri())
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        editor.insert(len(editor.text), "\n" * 40 + "flour = ")
        await editor.suggestion(len(editor.text))
        if "<filename>bread.py\n" in await last_prompt(editor):
            return True
        await asyncio.sleep(0.1)
    return False


async def is_asked(editor: Editor, file: Path) -> bool:
    editor.open("x = ", uri=file.as_uri())
    return await editor.suggestion(4) is not None


async def test_folders_and_their_changes_are_announced(tmp_path: Path) -> None:
    async with start(scripted("1\n"), folders=[folder(project(tmp_path / "a"))]) as editor:
        workspace = editor.server_capabilities.workspace
        assert workspace is not None
        assert workspace.workspace_folders is not None
        assert workspace.workspace_folders.supported
        assert workspace.workspace_folders.change_notifications


async def test_added_and_removed_folders_count_immediately(tmp_path: Path) -> None:
    first, second = project(tmp_path / "first"), project(tmp_path / "second")
    settings = {"exclude": ["/main.py", "/second"], "eagerness": "eager"}
    async with start(scripted("1\n"), folders=[folder(first)], settings=settings) as editor:
        # Outside of the workspace, patterns count at any depth.
        assert not await is_asked(editor, second / "oven.py")
        change(editor, [second], [])
        assert await is_asked(editor, second / "oven.py")
        assert not await is_asked(editor, second / "main.py")
        assert await has_related_files(editor, second / "new.py")
        change(editor, [], [second])
        assert not await is_asked(editor, second / "oven.py")
        # A folder that is renamed, or reported twice, stays.
        change(editor, [first], [first])
        assert await has_related_files(editor, first / "new.py")
        change(editor, [], [first])
        assert not await has_related_files(editor, first / "other.py", seconds=1.5)


async def test_a_nested_folder_has_patterns_and_files_of_its_own(tmp_path: Path) -> None:
    outer = project(tmp_path / "outer")
    inner = project(outer / "inner")
    (inner / "bread.py").write_text("def bake_bread(rye):\n    return inner_oven(rye)\n")
    settings = {"exclude": ["/main.py"], "eagerness": "eager"}
    folders = [folder(outer), folder(inner)]
    async with start(scripted("1\n"), folders=folders, settings=settings) as editor:
        assert not await is_asked(editor, inner / "main.py")
        assert not await is_asked(editor, outer / "main.py")
        assert await has_related_files(editor, inner / "new.py")
        assert "inner_oven" in await last_prompt(editor)
        change(editor, [], [inner])
        assert await is_asked(editor, inner / "main.py")


@pytest.mark.parametrize(("root", "opened"), [("link", "real"), ("real", "link"), ("link", "link")])
async def test_a_linked_folder_is_the_folder(tmp_path: Path, root: str, opened: str) -> None:
    project(tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    settings = {"exclude": ["/main.py", tmp_path.name, "real", "link"], "eagerness": "eager"}
    async with start(
        scripted("1\n"), folders=[folder(tmp_path / root)], settings=settings
    ) as editor:
        assert not await is_asked(editor, tmp_path / opened / "main.py")
        assert await is_asked(editor, tmp_path / opened / "oven.py")
        assert await has_related_files(editor, tmp_path / opened / "new.py")
        assert "<filename>new.py\n" in await last_prompt(editor)


async def test_excluded_and_ignored_files_are_not_related_files(tmp_path: Path) -> None:
    """Also not while they are open, and not by the name of a link."""
    root = project(tmp_path / "p")
    (root / ".git").mkdir()  # git refuses it, so the files are found without git
    (root / ".gitignore").write_text("local.py\n!\nfoo\\\n[z-a]\n")
    (root / "vault").mkdir()
    for name in ("vault/a.py", "local.py"):
        (root / name).write_text(BREAD.replace("oven", "hunter2"))
    (root / "ok.py").symlink_to("vault/a.py")
    settings = {"exclude": ["/vault/"], "eagerness": "eager"}
    async with start(scripted("1\n"), folders=[folder(root)], settings=settings) as editor:
        for name in ("vault/a.py", "local.py", "ok.py"):
            assert not await is_asked(editor, root / name)
            editor.open(BREAD.replace("oven", "hunter2"), uri=(root / name).as_uri())
        assert await has_related_files(editor, root / "main.py")
        assert "hunter2" not in str((await editor.engine_requests())["texts"])
