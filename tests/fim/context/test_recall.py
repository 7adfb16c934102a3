"""Passages follow the disk, git's rules and the documents that are open."""

import asyncio
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from fim.context.open_files import OpenFile
from fim.context.project import Project
from fim.snapshot import Snapshot

BREAD = "def bake_bread(flour, water):\n    return oven(flour, water)\n"
TYPED = "def bake_bread(fl"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "inner").mkdir()
    (tmp_path / "secret").mkdir()
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "inner" / "bread.py").write_text(BREAD)
    (tmp_path / "secret" / "cake.py").write_text(BREAD.replace("water", "secret_sugar"))
    (tmp_path / "ignored.py").write_text(BREAD.replace("water", "ignored_salt"))
    (tmp_path / ".gitignore").write_text("ignored.py\n")
    return tmp_path


def project_of(root: Path, **options: object) -> Project:
    project = Project(root, lambda file: file.parent.name != "secret", **options)  # type: ignore[arg-type]
    project.scan()
    project.build_memory()
    return project


async def text_after(
    project: Project, open_files: Sequence[OpenFile] = (), typed: str = TYPED
) -> str:
    """All text after the places that are found in `main.py`."""
    snapshot = Snapshot("file:///main.py", "python", typed, len(typed))
    passages = await project.passages(snapshot, "main.py", open_files, max_wait_s=None)
    return "".join(passage.after for passage in passages)


async def eventually(project: Project, text: str, open_files: Sequence[OpenFile] = ()) -> None:
    for _ in range(300):
        if text in await text_after(project, open_files):
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{text} is not found")


async def test_excluded_and_ignored_files_are_not_found(root: Path) -> None:
    assert await text_after(project_of(root)) == "our, water):\n    return oven(flour, water)\n"


async def test_the_first_request_starts_the_scan(root: Path) -> None:
    project = Project(root, lambda file: file.parent.name != "secret")
    assert await text_after(project) == ""
    await eventually(project, "water")


@pytest.mark.parametrize("change", ["removed", "renamed", "changed"])
async def test_a_file_that_is_not_as_it_was_is_not_found(root: Path, change: str) -> None:
    project, file = project_of(root), root / "inner" / "bread.py"
    if change == "removed":
        file.unlink()
    elif change == "renamed":
        file.rename(root / "inner" / "bread.txt")
    else:
        file.write_text(BREAD.replace("water", "milk"))
        os.utime(file, ns=(1, 1))
    assert await text_after(project) == ""
    if change == "changed":
        await eventually(project, "milk")


@pytest.mark.parametrize("place", [".gitignore", "inner/.gitignore", ".git/info/exclude"])
async def test_a_file_that_is_newly_ignored_is_not_found(root: Path, place: str) -> None:
    now = 0.0
    project = Project(root, clock=lambda: now)
    await eventually(project, "water")
    rules = root / place
    rules.write_text((rules.read_text() if rules.exists() else "") + "bread.py\n")
    assert "water" not in await text_after(project)
    now = 10.0
    await text_after(project)  # it lists the files again
    await asyncio.sleep(0.3)
    assert "water" not in await text_after(project)
    rules.write_text("")
    now = 20.0
    await eventually(project, "water")


async def test_open_documents_count_as_they_are_in_the_editor(root: Path) -> None:
    project = project_of(root)
    edited = OpenFile("inner/bread.py", "python", BREAD.replace("water", "milk"), 2)
    assert await text_after(project, [edited]) == "our, "  # the index is older
    await eventually(project, "milk", [edited])
    project.close("inner/bread.py")
    assert "milk" not in await text_after(project)
    await eventually(project, "water")
    assert "milk" not in await text_after(project)


@pytest.mark.parametrize("path", ["secret/new.py", "ignored.py", ".env", "notes"])
async def test_open_documents_that_must_not_be_shown_are_not_found(root: Path, path: str) -> None:
    project = Project(
        root, lambda file: file.parent.name != "secret", lambda file: file.name == "ignored.py"
    )
    hidden = OpenFile(path, "python", "PASSWORD_OF_BREAD = 'hunter'\n", 1)
    shown = OpenFile("shown.py", "python", BREAD.replace("water", "milk"), 1)
    await eventually(project, "milk", [hidden, shown])
    assert await text_after(project, [hidden, shown], "PASSWORD_OF_BR") == ""


async def test_an_open_document_that_is_newly_ignored_is_not_found(root: Path) -> None:
    now, ignored = 0.0, False
    project = Project(root, is_ignored=lambda _: ignored, clock=lambda: now)
    edited = OpenFile("inner/bread.py", "python", BREAD.replace("water", "milk"), 2)
    await eventually(project, "milk", [edited])
    ignored = True
    (root / ".gitignore").write_text("*.py\n")
    assert "milk" not in await text_after(project, [edited])
    now = 10.0
    await text_after(project, [edited])
    await asyncio.sleep(0.3)
    assert await text_after(project, [edited]) == ""


async def test_a_request_from_before_a_close_stores_nothing(root: Path) -> None:
    project = project_of(root)
    edited = OpenFile("inner/bread.py", "python", BREAD.replace("water", "milk"), 2)
    snapshot = Snapshot("file:///main.py", "python", TYPED, len(TYPED))
    request = project.passages(snapshot, "main.py", [edited])
    recall = project._recall
    recall.close("inner/bread.py")
    recall._store(edited, recall._num_closed - 1)
    assert "inner/bread.py" not in recall._open
    request.close()


async def test_a_disk_that_does_not_answer_delays_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, answer = project_of(root), asyncio.Event()
    loop = asyncio.get_running_loop()

    calls = []

    def slow(*_: object) -> None:
        calls.append(1)
        asyncio.run_coroutine_threadsafe(answer.wait(), loop).result()

    monkeypatch.setattr(project._files, "time", slow)
    snapshot = Snapshot("file:///main.py", "python", TYPED, len(TYPED))
    start = loop.time()
    for _ in range(4):
        assert await project.passages(snapshot, "main.py", ()) == ()
    assert loop.time() - start < 0.5
    await asyncio.sleep(0.1)
    assert len(calls) == 2  # further requests do not take a thread
    answer.set()


async def test_a_stopped_project_builds_nothing(root: Path) -> None:
    project = Project(root)
    project.stop()
    assert await text_after(project) == ""
    await asyncio.sleep(0.3)
    assert await text_after(project) == ""


async def test_the_files_are_listed_once_for_excerpts_and_passages(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, reads = Project(root), []
    read = project._files.read
    monkeypatch.setattr(project._files, "read", lambda path: (reads.append(path), read(path))[1])
    project.scan()
    assert sorted(reads) == ["inner/bread.py", "secret/cake.py"]
    project.scan()
    assert len(reads) == 2
