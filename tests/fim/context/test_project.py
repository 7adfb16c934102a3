"""A project is read in the background, as far as it may be."""

import asyncio
import subprocess
from pathlib import Path

import pytest

from fim.context.project import OpenFile, Project
from fim.snapshot import Snapshot

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


def asking(text: str = "x = flour", uri: str = "file:///main.py") -> Snapshot:
    return Snapshot(uri, "python", text, len(text), path="main.py")


async def found(project: Project, snapshot: Snapshot, *open_: OpenFile) -> set[str]:
    return {one.path for one in await project.related(snapshot, open_)}


async def test_what_git_ignores_or_the_user_excludes_is_never_read(root: Path) -> None:
    command = ["git", "init", "-q", str(root)]
    await asyncio.to_thread(subprocess.run, command, check=True)
    (root / ".gitignore").write_text("ignored.py\nnode_modules\n.hidden\n")
    project = Project(root, lambda path: not path.startswith("secret/"))
    project.scan()
    assert await found(project, asking()) == {"bread.py"}


async def test_without_git_others_code_is_left_out(root: Path) -> None:
    project = Project(root)
    project.scan()
    assert await found(project, asking()) == {"bread.py", "ignored.py", "secret/bread.py"}


async def test_the_first_completion_starts_the_reading_and_does_not_wait(root: Path) -> None:
    now = 0.0
    project = Project(root, clock=lambda: now)
    await project.related(asking(), ())
    for _ in range(100):
        now += 100.0  # what was found, or not, stays for a minute
        if await found(project, asking()):
            return
        await asyncio.sleep(0.02)
    raise AssertionError("never found")


async def test_what_is_open_counts_as_it_is_in_the_editor(root: Path) -> None:
    now = 0.0
    project = Project(root, clock=lambda: now)
    project.scan()
    changed = OpenFile("bread.py", "python", "def toast(flour): ...\n", 2)
    (one, *_) = await project.related(asking(), (changed,))
    assert one.text == "def toast(flour): ..."
    now = 61.0
    again = OpenFile("bread.py", "python", "def rusk(flour): ...\n", 3)
    assert "rusk" in (await project.related(asking(), (again,)))[0].text
    # Closed without saving: what is on disk counts.
    project.close("file:///bread.py", "bread.py")
    project.scan()
    now = 122.0
    assert "bake_bread" in str(await project.related(asking(), ()))
    assert "rusk" not in str(await project.related(asking(), ()))


async def test_it_stays_while_one_types_and_moves_on_with_the_cursor(root: Path) -> None:
    project = Project(root, clock=lambda: 0.0)
    project.scan()
    first = await project.related(asking("x = flour"), ())
    (root / "bread.py").write_text("def rye(flour): ...\n")
    project.scan()
    assert await project.related(asking("x = flour + wat"), ()) == first
    moved = await project.related(asking("\n" * 40 + "x = flour"), ())
    assert "rye" in str(moved)


async def test_what_is_gone_is_forgotten(root: Path) -> None:
    project = Project(root)
    project.scan()
    (root / "bread.py").unlink()
    project.scan()
    assert "bread.py" not in await found(project, asking())


async def test_the_document_itself_is_no_help(root: Path) -> None:
    project = Project(root)
    project.scan()
    own = Snapshot("file:///b", "python", BREAD, 10, path="bread.py")
    placed = await project.add_project_context(own, "bread.py", ())
    assert (placed.project, placed.path) == (root.name, "bread.py")
    assert "bread.py" not in [one.path for one in placed.excerpts]


async def test_a_failure_costs_other_files_and_no_completion(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> None:
        raise RuntimeError("no index")

    project = Project(root)
    project.scan()
    monkeypatch.setattr("fim.context.project.related", failing)
    assert await project.related(asking(), ()) == ()


def test_a_server_that_ends_does_not_wait_for_the_reading(root: Path) -> None:
    project = Project(root)
    project.stop()
    project.scan()
    assert project._seen == {}
