"""The edits of a commit stand for the recent edits of somebody who writes one of its lines."""

import subprocess
from pathlib import Path

import pytest

from fim.evaluation.commit_edits import CommitEdit, earlier_edits, edits_between
from fim.evaluation.older_trees import added_in_commits, added_since
from fim.evaluation.project_context import context_provider_for, hole_uri
from fim.snapshot import Edit, Snapshot

OLD = "import oven\n\n\ndef bake(flour):\n    return oven(flour)\n"
NEW = OLD.replace("flour", "flour, water")
CALLER = "def dinner():\n    return bake(flour)\n"
NEW_CALLER = CALLER + "\n\ndef lunch():\n    return bake(flour, water)\n"


def test_edits_have_their_lines_in_the_newer_version() -> None:
    old = {"a.py": OLD, "b.py": CALLER, "removed.py": "x\n"}
    edits = edits_between(old, {"b.py": CALLER, "a.py": NEW, "added.py": "y\n"})
    before = ("def bake(flour):", "    return oven(flour)")
    after = ("def bake(flour, water):", "    return oven(flour, water)")
    assert edits == (CommitEdit(3, 5, Edit("a.py", ("", ""), before, after, ("",))),)


def test_edits_that_are_too_long_for_a_prompt_are_left_out() -> None:
    assert edits_between({"a.py": "a\n" * 40}, {"a.py": "b\n" * 40}) == ()


def edit(number: int) -> CommitEdit:
    lines = (f"bake bread {number}",)
    return CommitEdit(number * 10, number * 10 + 1, Edit("a.py", (), lines, lines, ()))


def test_half_of_the_edits_are_older_than_a_line() -> None:
    edits = tuple(map(edit, range(4)))
    snapshot = Snapshot("u", "python", "bake bread", 10, path="b.py")
    seeds = [str(number) for number in range(500)]
    chosen = [set(earlier_edits(edits, snapshot, "b.py", seed)) for seed in seeds]
    for each in edits:
        share = sum(each.edit in older for older in chosen) / len(chosen)
        assert share == pytest.approx(0.5, abs=0.1)
    assert chosen[0] == set(earlier_edits(edits, snapshot, "b.py", "0"))
    assert len({frozenset(older) for older in chosen}) == 2 ** len(edits)


def test_edits_near_the_line_are_not_among_them() -> None:
    edits = tuple(map(edit, range(10)))
    text = "bake bread\n" * 60
    snapshot = Snapshot("u", "python", text, text.index("\n") * 50 + 50, path="a.py")
    assert snapshot.text.count("\n", 0, snapshot.cursor) == 50
    seeds = [str(number) for number in range(50)]
    chosen = {each for seed in seeds for each in earlier_edits(edits, snapshot, "a.py", seed)}
    assert {each.removed[0] for each in chosen} == {f"bake bread {n}" for n in (0, 1, 2, 8, 9)}


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.com")
    subprocess.run(("git", "-C", str(folder), *identity, *arguments), check=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q")
    for oven, caller in ((OLD, CALLER), (NEW, NEW_CALLER)):
        (folder / "oven.py").write_text(oven)
        (folder / "dinner.py").write_text(caller)
        git(folder, "add", "-A")
        git(folder, "commit", "-qm", "x")
    return folder


async def test_a_line_of_a_commit_gets_other_edits_of_the_commit(
    repository: Path, tmp_path: Path
) -> None:
    files, _ = added_in_commits(repository, "1", 0, tmp_path / "scratch")
    file = next(file for file in files if file.path.endswith("/dinner.py"))
    provider = context_provider_for(files)
    text = NEW_CALLER[: NEW_CALLER.rindex("(flour")]
    seen = set()
    for number in range(20):
        uri = hole_uri(f"{file.path}:{number}-{number + 1}:line")
        snapshot = Snapshot(uri, "python", text, len(text))
        seen.add((await provider(snapshot, excerpts=True, passages=False)).edits)
        assert (await provider(snapshot, excerpts=False, passages=True)).edits == ()
    (edits,) = seen - {()}
    assert () in seen
    assert [(each.path, each.added[0]) for each in edits] == [
        ("oven.py", "def bake(flour, water):")
    ]


def test_between_releases_there_are_no_recent_edits(repository: Path, tmp_path: Path) -> None:
    older = tmp_path / "older"
    older.mkdir()
    (older / "oven.py").write_text(OLD)
    (older / "dinner.py").write_text(CALLER)
    files = added_since(repository, older, tmp_path / "scratch")
    assert files
    assert all(file.edits == () for file in files)
