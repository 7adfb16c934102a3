"""A project is indexed in the background, except for files that must not be read."""

import asyncio
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from fim.context.open_files import OpenFile
from fim.context.project import Project
from fim.snapshot import Excerpt, Snapshot

BREAD = "def bake_bread(flour, water):\n    return oven(flour, water)\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for path, text in {
        "bread.py": BREAD,
        "ignored.py": "def ignored_bread(flour): ...\n",
        "secret/bread.py": "def secret_bread(flour): ...\n",
        "node_modules/bread.js": "function module_bread(flour) {}\n",
        ".hidden/bread.py": "def hidden_bread(flour): ...\n",
        "data.csv": "flour,water\n",
    }.items():
        file = tmp_path / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    (tmp_path / "broken.py").write_bytes(b"\xff\xfe flour")
    return tmp_path


def snapshot_of(text: str = "x = flour", uri: str = "file:///main.py") -> Snapshot:
    return Snapshot(uri, "python", text, len(text), path="main.py")


async def excerpts_of(
    project: Project, snapshot: Snapshot, open_files: Iterable[OpenFile]
) -> tuple[Excerpt, ...]:
    return (await project.related_text(snapshot, open_files, max_wait_s=None)).excerpts


async def excerpt_paths(project: Project, snapshot: Snapshot) -> set[str]:
    return {excerpt.path for excerpt in await excerpts_of(project, snapshot, ())}


async def test_ignored_and_excluded_files_are_never_read(root: Path) -> None:
    command = ["git", "init", "-q", str(root)]
    await asyncio.to_thread(subprocess.run, command, check=True)
    (root / ".gitignore").write_text("ignored.py\nnode_modules\n.hidden\n")
    project = Project(root, lambda file: file.parent.name != "secret")
    project.scan()
    assert await excerpt_paths(project, snapshot_of()) == {"bread.py"}


async def test_without_git_third_party_folders_are_left_out(root: Path) -> None:
    project = Project(root)
    project.scan()
    assert await excerpt_paths(project, snapshot_of()) == {
        "bread.py",
        "ignored.py",
        "secret/bread.py",
    }


async def test_the_first_completion_starts_the_scan_and_does_not_wait(root: Path) -> None:
    now = 0.0
    project = Project(root, clock=lambda: now)
    await excerpts_of(project, snapshot_of(), ())
    for _ in range(100):
        now += 100.0  # excerpts are reused for a minute
        if await excerpt_paths(project, snapshot_of()):
            return
        await asyncio.sleep(0.02)
    raise AssertionError("no excerpts")


async def test_open_files_are_indexed_as_they_are_in_the_editor(root: Path) -> None:
    now = 0.0
    project = Project(root, clock=lambda: now)
    project.scan()
    changed = OpenFile("bread.py", "python", "def toast(flour): ...\n", 2)
    (excerpt, *_) = await excerpts_of(project, snapshot_of(), (changed,))
    assert excerpt.text == "def toast(flour): ..."
    now = 61.0
    again = OpenFile("bread.py", "python", "def rusk(flour): ...\n", 3)
    assert "rusk" in (await excerpts_of(project, snapshot_of(), (again,)))[0].text
    # Closed without saving: the version on disk counts.
    project.close("bread.py")
    project.scan()
    now = 122.0
    assert "bake_bread" in str(await excerpts_of(project, snapshot_of(), ()))
    assert "rusk" not in str(await excerpts_of(project, snapshot_of(), ()))


async def test_excerpts_stay_while_the_user_types_and_change_with_the_cursor(root: Path) -> None:
    project = Project(root, clock=lambda: 0.0)
    project.scan()
    first = await excerpts_of(project, snapshot_of("x = flour"), ())
    (root / "bread.py").write_text("def rye(flour): ...\n")
    project.scan()
    assert await excerpts_of(project, snapshot_of("x = flour + wat"), ()) == first
    moved = await excerpts_of(project, snapshot_of("\n" * 40 + "x = flour"), ())
    assert "rye" in str(moved)


async def test_a_deleted_file_is_removed(root: Path) -> None:
    project = Project(root)
    project.scan()
    (root / "bread.py").unlink()
    project.scan()
    assert "bread.py" not in await excerpt_paths(project, snapshot_of())


async def test_the_document_itself_is_not_an_excerpt(root: Path) -> None:
    project = Project(root)
    project.scan()
    own = Snapshot("file:///b", "python", BREAD, 10, path="bread.py")
    snapshot = await project.add_excerpts(own, "bread.py", ())
    assert (snapshot.project, snapshot.path) == (root.name, "bread.py")
    assert "bread.py" not in [excerpt.path for excerpt in snapshot.excerpts]


async def test_without_an_index_completion_goes_on_without_excerpts(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> None:
        raise RuntimeError("no index")

    project = Project(root)
    project.scan()
    monkeypatch.setattr("fim.context.excerpts.find_excerpts", failing)
    assert await excerpts_of(project, snapshot_of(), ()) == ()


async def test_a_stopped_project_ends_its_scan(root: Path) -> None:
    project = Project(root)
    project.stop()
    project.scan()
    assert await excerpt_paths(project, snapshot_of()) == set()


async def test_a_document_that_was_never_saved_is_forgotten_after_it_is_closed(root: Path) -> None:
    now = 0.0
    project = Project(root, clock=lambda: now)
    project.scan()
    rye = OpenFile("rye.py", "python", "def rye(flour): ...\n", 1)
    assert "rye" in str(await excerpts_of(project, snapshot_of(), (rye,)))
    project.close("rye.py")
    project.scan()
    now = 61.0
    assert "rye" not in str(await excerpts_of(project, snapshot_of(), ()))


async def test_edits_of_a_document_closed_unsaved_are_forgotten(root: Path) -> None:
    project = Project(root)
    snapshot = snapshot_of("bake_bread(flour, water)")
    changed = OpenFile("bread.py", "python", BREAD.replace("water", "water, salt"), 2)
    assert (await project.related_text(snapshot, (changed,), None)).edits
    project.close("bread.py")
    assert (await project.related_text(snapshot, (), None)).edits == ()


async def test_edits_of_a_file_are_forgotten_when_it_is_deleted(root: Path) -> None:
    now = 0.0
    project = Project(root, clock=lambda: now)
    project.scan()
    snapshot = snapshot_of("bake_bread(flour, water)")
    changed = BREAD.replace("water", "water, salt")
    await project.related_text(snapshot, (OpenFile("bread.py", "python", changed, 2),), None)
    (root / "bread.py").write_text(changed)
    project.close("bread.py")
    now = 61.0
    assert [edit.path for edit in (await project.related_text(snapshot, (), None)).edits] == [
        "bread.py"
    ]
    (root / "bread.py").unlink()
    project.scan()
    now = 122.0
    assert (await project.related_text(snapshot, (), None)).edits == ()
