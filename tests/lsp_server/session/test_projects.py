"""Each snapshot gets passages of its project, or of its own text, unless the memory is off."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.scripted import ScriptedEngine
from fim.snapshot import Cell, Snapshot, Trigger
from lsp_server.session.completions import CompletionSession
from lsp_server.settings import Settings
from tests.lsp_server.session.test_completions import SETTINGS, Session

BREAD = "def bake_bread(flour, water):\n    return oven(flour, water)\n"
TYPED = "def bake_bread(fl"
OFF = {**SETTINGS.model_dump(), "project_memory": False}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "bread.py").write_text(BREAD)
    return tmp_path


def snapshot_of(uri: str, text: str = TYPED) -> Snapshot:
    return Snapshot(uri, "python", text, len(text))


async def text_after(completions: CompletionSession, snapshot: Snapshot, **options: bool) -> str:
    """The text of all passages; a request waits a few milliseconds, so several are made."""
    options = {"excerpts": False, "passages": True, **options}
    for _ in range(40):
        added = await completions._projects.add_project_context(snapshot, **options)
        if added.passages:
            return "".join(passage.after for passage in added.passages)
        await asyncio.sleep(0.02)
    return ""


def completions_in(root: Path, **settings: Any) -> CompletionSession:
    changed = Settings(**{**SETTINGS.model_dump(), **settings})
    return Session(ScriptedEngine(lambda _: "1"), changed, root).completions


async def test_passages_are_from_the_project(root: Path) -> None:
    completions = completions_in(root)
    snapshot = snapshot_of((root / "main.py").as_uri())
    assert (
        await text_after(completions, snapshot) == "our, water):\n    return oven(flour, water)\n"
    )
    completions.stop()


async def test_excluded_files_are_forgotten_when_the_setting_changes(root: Path) -> None:
    completions = completions_in(root)
    snapshot = snapshot_of((root / "main.py").as_uri())
    assert "water" in await text_after(completions, snapshot)
    completions.apply_settings(Settings(**{**SETTINGS.model_dump(), "exclude": ("bread.py",)}))
    assert await text_after(completions, snapshot) == ""


@pytest.mark.parametrize("uri", ["untitled:Untitled-1", "file:///elsewhere/main.py"])
async def test_other_documents_have_passages_of_their_own_text(root: Path, uri: str) -> None:
    completions = completions_in(root)
    assert await text_after(completions, snapshot_of(uri, BREAD + "\n" + TYPED)) == (
        "our, water):\n    return oven(flour, water)\n\ndef bake_bread(fl"
    )
    completions.close_document(uri)
    assert completions._projects._own_memories == {}


async def test_a_cell_of_a_notebook_has_passages_of_the_cells_before_it(root: Path) -> None:
    completions = completions_in(root)
    snapshot = replace(snapshot_of("vscode-notebook-cell:n#2"), cells=(Cell("code", BREAD),))
    assert "water" in await text_after(completions, snapshot)
    without = replace(snapshot, cells=())
    assert await text_after(completions, without) == ""


async def test_without_the_memory_nothing_is_indexed(root: Path) -> None:
    session = Session(
        ScriptedEngine(lambda _: "1"),
        Settings(**{**OFF, "related_files": "never"}),
        root,
    )
    snapshot = snapshot_of((root / "main.py").as_uri(), "x = ")
    await session.completions.complete(snapshot, Trigger.AUTOMATIC)
    assert session.completions._projects._projects == {}


async def test_switching_the_memory_off_drops_it(root: Path) -> None:
    completions = completions_in(root)
    snapshot = snapshot_of((root / "main.py").as_uri())
    assert await text_after(completions, snapshot)
    (project,) = completions._projects._projects.values()
    completions.apply_settings(Settings(**OFF))
    assert completions._projects._projects == {}
    assert project._recall._worker._is_stopped


async def test_passages_reach_the_snapshot_of_a_request(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    completions = completions_in(root, related_files="never")
    snapshot = snapshot_of((root / "main.py").as_uri())
    assert await text_after(completions, snapshot)
    model, received = completions._completer.model, []
    generate = model.generate

    async def record(snapshot: Snapshot, *rest: Any) -> Any:
        received.append(snapshot)
        return await generate(snapshot, *rest)

    monkeypatch.setattr(model, "generate", record)
    for number in range(5):  # one that takes more than 5 ms goes without passages
        await completions.complete(
            replace(snapshot, uri=f"{snapshot.uri}{number}"), Trigger.INVOKED
        )
    assert any(each.passages for each in received)
    assert not any(each.path for each in received)
