"""A real server in a folder that wants to run programs, block it, or show it foreign files."""

import asyncio
import os
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from lsprotocol import types
from pygls.exceptions import JsonRpcException

from tests.e2e.client import Editor, scripted, start
from tests.engine.server.serving import until
from tests.workspace.hostile import TRICKS, HostileFolder, make_hostile_folder

CONTEXT = "from bread import bake_bread\n\n"


@pytest.fixture
def hostile(tmp_path: Path) -> HostileFolder:
    return make_hostile_folder(tmp_path)


def folder_of(hostile: HostileFolder) -> list[types.WorkspaceFolder]:
    return [types.WorkspaceFolder(hostile.root.as_uri(), "bakery")]


async def prompt_with_other_files(editor: Editor) -> str:
    """Type until the prompt contains another file; return the prompt."""
    async with asyncio.timeout(30):
        while True:
            editor.insert(len(editor.text), "\n" * 40 + "flour = ")
            await editor.suggestion(len(editor.text))
            prompt = str((await editor.engine_requests())["texts"][-1])
            if "<filename>bread.py\n" in prompt:
                return prompt
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("trick", TRICKS)
async def test_typing_and_a_commit_message_run_no_program(
    hostile: HostileFolder, trick: str
) -> None:
    TRICKS[trick](hostile)
    async with start(scripted("Bake\n"), folders=folder_of(hostile)) as editor:
        editor.open(CONTEXT, uri=(hostile.root / "main.py").as_uri())
        await prompt_with_other_files(editor)
        for uri in (hostile.root.as_uri(), (hostile.root / "docs").as_uri()):
            with suppress(JsonRpcException):
                await editor.request("starcoder/commitMessage", {"uri": uri})
    assert not hostile.mark.exists()


async def test_git_does_not_run_at_all_if_it_is_switched_off(hostile: HostileFolder) -> None:
    """VS Code switches it off without trust. A program named git on the PATH would leave a mark.

    Ignore files are read without it: a pattern counts, and also for a file that git would track.
    """
    programs = hostile.root.parent / "programs"
    programs.mkdir()
    (programs / "git").symlink_to(hostile.program)
    (hostile.root / ".gitignore").write_text("tracked.py\nlocal.py\n")
    (hostile.root / "tracked.py").write_text("def bake_tracked_bread(flour):\n    return 1\n")
    hostile.git("add", "-f", "tracked.py")
    (hostile.root / "local.py").write_text("x = 1\n")
    async with start(
        scripted("Bake\n"),
        folders=folder_of(hostile),
        settings={"git": False},
        environment={"PATH": os.pathsep.join([str(programs), os.environ["PATH"]])},
    ) as editor:
        editor.open(CONTEXT, uri=(hostile.root / "main.py").as_uri())
        assert "bake_tracked_bread" not in await prompt_with_other_files(editor)
        with pytest.raises(JsonRpcException, match="git does not run here"):
            await editor.request("starcoder/commitMessage", {"uri": hostile.root.as_uri()})
        editor.open("x = ", uri=(hostile.root / "local.py").as_uri())
        assert await editor.suggestion(4) is None
    assert not hostile.mark.exists()


def plant_special_files(hostile: HostileFolder) -> Path:
    """Plant files that must not be opened; return a file outside of the folder."""
    outside = hostile.root.parent / "secret.py"
    outside.write_text("def bake_bread(password):\n    return 'hunter2'\n")
    os.mkfifo(hostile.root / "fifo.py")
    (hostile.root / "zero.py").symlink_to("/dev/zero")
    (hostile.root / "link.py").symlink_to(outside)
    (hostile.root / "linked").symlink_to(hostile.root.parent)
    return outside


async def test_special_files_and_links_out_of_the_folder_are_not_read(
    hostile: HostileFolder,
) -> None:
    plant_special_files(hostile)
    async with start(scripted("1\n"), folders=folder_of(hostile)) as editor:
        editor.open(CONTEXT, uri=(hostile.root / "main.py").as_uri())
        prompt = await prompt_with_other_files(editor)
        assert "hunter2" not in prompt
        for name in ("fifo.py", "zero.py", "link.py", "linked/secret.py"):
            attachment = {"kind": "file", "uri": (hostile.root / name).as_uri()}
            with pytest.raises(JsonRpcException, match="cannot be read as text"):
                await editor.request("starcoder/chat/attach", {"attachments": [attachment]})
            editor.uri = attachment["uri"]
            with pytest.raises(JsonRpcException):
                await editor.suggestion(0)
        assert psutil.Process(editor.client._server.pid).memory_info().rss < 400 << 20  # type: ignore[union-attr]


def runs_ls_files(server: psutil.Process) -> bool:
    for child in server.children(recursive=True):
        with suppress(psutil.Error):
            if "ls-files" in child.cmdline():
                return True
    return False


async def test_fifos_as_ignore_files_delay_nothing(hostile: HostileFolder) -> None:
    """git hangs at the first one; a request and the end of the server do not wait for it."""
    for folder in (hostile.root, hostile.root / "inner"):
        folder.mkdir(exist_ok=True)
        os.mkfifo(folder / ".gitignore")
    async with start(scripted("1\n"), folders=folder_of(hostile)) as editor:
        editor.open("flour = ", uri=(hostile.root / "inner" / "main.py").as_uri())
        async with asyncio.timeout(10):
            assert await editor.suggestion(len(editor.text)) == "1"
        server = psutil.Process(editor.client._server.pid)  # type: ignore[union-attr]
        await until(lambda: runs_ls_files(server), 15)
        children = server.children(recursive=True)
    _, alive = psutil.wait_procs([server, *children], timeout=5)
    assert alive == []


async def test_generated_tests_are_not_written_through_a_link(hostile: HostileFolder) -> None:
    elsewhere = hostile.root.parent / "elsewhere.go"
    elsewhere.write_text("package main\n")
    (hostile.root / "bread_test.go").symlink_to(elsewhere)
    async with start(scripted("x"), folders=folder_of(hostile)) as editor:
        source = "package main\n\nfunc Bake(flour int) int {\n\treturn flour\n}\n"
        editor.open(source, uri=(hostile.root / "bread.go").as_uri(), language="go")
        position = {"line": 2, "character": 6}
        params = {"uri": editor.uri, "range": {"start": position, "end": position}, "task": "tests"}
        with pytest.raises(JsonRpcException, match=r"bread_test.go .* not a text file of this"):
            await editor.request("starcoder/task", params)
        assert (await editor.engine_requests())["texts"] == []
