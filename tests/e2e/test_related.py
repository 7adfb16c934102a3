"""The prompt of a real server contains excerpts of the project's other files."""

import asyncio
from pathlib import Path

from lsprotocol import types

from tests.e2e.client import Editor, scripted, start


async def prompts(editor: Editor) -> list[str]:
    return list((await editor.engine_requests())["texts"])


async def test_other_files_of_the_folder_are_read_except_secret_files(tmp_path: Path) -> None:
    (tmp_path / "bread.py").write_text("def bake_bread(flour):\n    return oven(flour)\n")
    (tmp_path / "secrets.py").write_text("def secret_bread(flour):\n    return 'hunter2'\n")
    folder = types.WorkspaceFolder(tmp_path.as_uri(), "bakery")
    async with start(scripted("1\n"), folders=[folder]) as editor:
        main = (tmp_path / "main.py").as_uri()
        editor.open("from bread import bake_bread\n\n", uri=main)
        # The first completion starts the indexing. A later completion, some lines further down,
        # uses the index.
        assert await editor.suggestion(len(editor.text)) == "1"
        async with asyncio.timeout(20):
            while "def bake_bread(flour)" not in (await prompts(editor))[-1]:
                await asyncio.sleep(0.1)
                editor.insert(len(editor.text), "\n" * 40 + "flour = ")
                await editor.suggestion(len(editor.text))
        prompt = (await prompts(editor))[-1]
        assert "<filename>bread.py\n" in prompt
        assert "<filename>main.py\n" in prompt
        assert "hunter2" not in str(await prompts(editor))


async def test_other_files_are_not_read_if_the_setting_is_never(tmp_path: Path) -> None:
    (tmp_path / "bread.py").write_text("def bake_bread(flour):\n    return oven(flour)\n")
    folder = types.WorkspaceFolder(tmp_path.as_uri(), "bakery")
    settings = {"relatedFiles": "never"}
    async with start(scripted("1\n"), folders=[folder], settings=settings) as editor:
        editor.open("flour = ", uri=(tmp_path / "main.py").as_uri())
        for _ in range(5):
            editor.insert(len(editor.text), "\n" * 40 + "flour = ")
            assert await editor.suggestion(len(editor.text)) == "1"
            await asyncio.sleep(0.1)
        assert "<filename>" not in str(await prompts(editor))


async def test_a_file_outside_of_the_workspace_gets_no_other_files(tmp_path: Path) -> None:
    folder = types.WorkspaceFolder(tmp_path.as_uri(), "bakery")
    async with start(scripted("1\n"), folders=[folder]) as editor:
        editor.open("x = ", uri="file:///elsewhere/main.py")
        assert await editor.suggestion(4) == "1"
        assert "<filename>" not in str(await prompts(editor))
