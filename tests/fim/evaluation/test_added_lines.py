"""Holes and passages in added lines: what counts as added, and what the project contains then."""

from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import ConfigurationError
from fim.context.project import Project
from fim.evaluation import added_lines, older_trees, project_context
from fim.evaluation.added_lines import AddedLines, find_added
from fim.evaluation.files import File, Sample, source_files
from fim.evaluation.holes import HoleKind, draw_holes
from fim.evaluation.older_trees import (
    MAX_CHANGED_FILES,
    MAX_COMMITS,
    CommitCounts,
    added_in_commits,
    added_since,
    private_folder,
)
from fim.evaluation.project_context import context_provider_for, hole_uri
from fim.evaluation.replay import passages
from fim.snapshot import Snapshot
from tests.workspace.git_oracle import git, make_repository

OLD = "def f(a):\n    if a:\n        return 1\n    return None\n"
NEW = (
    "def f(a):\n    while a:\n        if a:\n            return 1\n    return None\n\n"
    "def g(b):\n    total = sum(b)\n    return None\n"
)


def new_texts(old: dict[str, str], new: dict[str, str]) -> dict[str, list[str]]:
    """The text of the new lines of each file."""
    return {
        path: [new[path].split("\n")[number].strip() for number in sorted(added.new)]
        for path, added in find_added(old, new).items()
    }


def test_reindented_and_repeated_lines_are_not_new() -> None:
    assert new_texts({"a.py": OLD}, {"a.py": NEW}) == {
        "a.py": ["while a:", "def g(b):", "total = sum(b)"]
    }


def test_inserted_lines_include_repeated_ones_but_no_reindented_ones() -> None:
    added = find_added({"a.py": OLD}, {"a.py": NEW})["a.py"]
    assert sorted(added.inserted) == [1, 6, 7, 8]


def test_all_lines_of_a_new_file_are_added() -> None:
    added = find_added({}, {"a.py": "x = 1\n\ny = 2\n"})["a.py"]
    assert added == AddedLines(frozenset({0, 2}), frozenset({0, 2}))


def test_lines_that_another_file_lost_were_moved() -> None:
    old = {"a.py": "first = 1\ntwo = 2\nthree = 3\n", "gone.py": "four = 4\n"}
    new = {"a.py": "two = 2\n", "b.py": "first = 1\n  three = 3\nfour = 4\nfive = 5\n"}
    assert new_texts(old, new) == {"b.py": ["five = 5"]}
    assert sorted(find_added(old, new)["b.py"].inserted) == [3]


def test_each_lost_line_accounts_for_one_line() -> None:
    old = {"a.py": "first = 1\n"}
    new = {"b.py": "first = 1\nfirst = 1\n"}
    assert new_texts(old, new) == {"b.py": ["first = 1"]}


def test_a_renamed_file_has_no_added_lines() -> None:
    assert find_added({"a.py": NEW}, {"b.py": NEW}) == {}


def test_very_long_files_are_not_compared_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(added_lines, "_MAX_DIFF_LINES", 3)
    added = find_added({"a.py": OLD}, {"a.py": NEW})["a.py"]
    assert added.inserted == added.new == {1, 6, 7}


@pytest.mark.parametrize(
    ("part", "is_added"),
    [
        ("total = sum(b)", True),
        ("sum(b)\n", True),
        ("def g(b):\n    total = sum(b)\n    return None", True),
        ("\n    return None\n\ndef g", False),
        ("total = sum(b)\n    return None", True),
        ("1\n", False),
        ("\n\n", False),
    ],
)
def test_a_part_is_added_if_all_its_lines_are_inserted(part: str, is_added: bool) -> None:
    added = find_added({"a.py": OLD}, {"a.py": NEW})["a.py"]
    start = NEW.rindex(part)
    assert added.contain(NEW, start, start + len(part)) is is_added


def test_most_lines_of_a_part_must_be_new() -> None:
    added = AddedLines(frozenset({0}), frozenset({0, 1, 2}))
    assert added.contain("a\nb\nc", 0, 3)
    assert not added.contain("a\nb\nc", 0, 5)
    assert not added.contain("a\nb\nc", 2, 3)


def write(folder: Path, texts: dict[str, str]) -> Path:
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    """An older tree, and a newer one with a changed, a new, a deleted and an equal file."""
    same = "unchanged_helper = compute_helper()\n"
    old = {"a.py": OLD, "lib/same.py": same, "old_only.py": "removed_value = 0\n"}
    new = {"a.py": NEW, "lib/same.py": same, "new_only.py": "fresh_value = total_of(7)\n"}
    return write(tmp_path / "v1", old), write(tmp_path / "v2", new)


def added_paths(files: list[File]) -> set[str]:
    return {file.path for file in files}


def test_files_of_two_folders(trees: tuple[Path, Path], tmp_path: Path) -> None:
    older, newer = trees
    files = added_since(newer, older, tmp_path / "scratch")
    assert added_paths(files) == {"@v1/a.py", "@v1/new_only.py"}
    (root,) = {file.root for file in files}
    assert root.name == "v2"  # the name of the project in prompts is the real one
    assert {file.path: file.text for file in source_files(root)} == {
        file.path: file.text for file in source_files(older)
    }
    assert {file.text for file in files} == {NEW, "fresh_value = total_of(7)\n"}
    assert all(file.sample is Sample.ADDED for file in files)


@pytest.mark.parametrize("kind", list(HoleKind))
def test_holes_are_cut_in_added_lines_only(
    trees: tuple[Path, Path], tmp_path: Path, kind: HoleKind
) -> None:
    older, newer = trees
    files = added_since(newer, older, tmp_path / "scratch")
    holes = draw_holes(files, [kind], 30, 0)
    assert holes or kind in (HoleKind.DOCSTRING, HoleKind.RETURN, HoleKind.BLOCK)
    for hole in holes:
        assert hole.sample == "added"
        assert hole.prefix + hole.middle + hole.suffix in {file.text for file in files}
        for line in hole.middle.split("\n"):
            assert line.strip() not in ("if a:", "return 1")
        first = (hole.prefix + hole.middle).split("\n")[hole.prefix.count("\n")].strip()
        assert first in {"while a:", "def g(b):", "total = sum(b)", "fresh_value = total_of(7)"}
    assert not {hole.name for hole in holes} & {
        hole.name for hole in draw_holes(source_files(newer), [kind], 30, 0)
    }


def test_passages_are_in_added_lines_only(trees: tuple[Path, Path], tmp_path: Path) -> None:
    older, newer = trees
    files = added_since(newer, older, tmp_path / "scratch")
    typed = {
        passage.file.text[passage.start : passage.end]
        for seed in range(20)
        for passage in passages(files, 5, 2, seed)
    }
    allowed = {
        "def g(b):\n    total = sum(b)",
        "    total = sum(b)\n    return None",
    }
    assert typed
    assert typed <= allowed


async def excerpts(files: list[File], file: File, text: str) -> str:
    """All text that the project adds to a snapshot of a file."""
    provider = context_provider_for(files)
    snapshot = Snapshot(hole_uri(f"{file.path}:0-1:line"), "python", text, len(text))
    texts = ""
    for _ in range(20):
        context = await provider(snapshot, excerpts=True, passages=False)
        texts += "".join(excerpt.text for excerpt in context.excerpts)
        snapshot = context
    for word in text.split():
        start = word[:8]
        typed = replace(snapshot, text=start, cursor=len(start))
        context = await provider(typed, excerpts=False, passages=True)
        texts += "".join(passage.before + passage.after for passage in context.passages)
    return texts


async def test_the_project_is_the_older_tree(trees: tuple[Path, Path], tmp_path: Path) -> None:
    older, newer = trees
    files = added_since(newer, older, tmp_path / "scratch")
    everything = [*source_files(newer), *files]
    words = "removed_value fresh_value unchanged_helper total_of "
    changed = next(file for file in files if file.path == "@v1/a.py")
    read = await excerpts(everything, changed, words)
    assert "removed_value" in read
    assert "unchanged_helper" in read
    assert "fresh_value" not in read
    random_file = next(file for file in everything if file.path == "a.py")
    read = await excerpts(everything, random_file, words)
    assert "fresh_value" in read
    assert "removed_value" not in read


async def test_a_project_is_read_once_while_few_are_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    created: list[str] = []

    def create(root: Path) -> Project:
        created.append(root.name)
        return Project(root)

    monkeypatch.setattr(project_context, "Project", create)
    monkeypatch.setattr(project_context, "_MAX_PROJECTS", 2)
    files = source_files(*(write(tmp_path / name, {"a.py": OLD}) for name in "xyz"))
    provider = project_context.context_provider_for(files)
    for name in "xyxzxy":
        await provider(
            Snapshot(hole_uri(f"{name}/a.py:0-1:line"), "python", "", 0),
            excerpts=True,
            passages=True,
        )
    assert created == ["x", "y", "z", "y"]  # only y was forgotten


def test_folders_that_do_not_correspond_are_refused(tmp_path: Path) -> None:
    older, newer = write(tmp_path / "1", {"a.py": OLD}), write(tmp_path / "2", {"pkg/a.py": NEW})
    with pytest.raises(ConfigurationError, match="no source file with the same path"):
        added_since(newer, older, tmp_path / "scratch")
    with pytest.raises(ConfigurationError, match="There is no folder"):
        added_since(newer, tmp_path / "none", tmp_path / "scratch")


def test_the_scratch_folder_is_private_and_deleted() -> None:
    with private_folder() as scratch:
        assert scratch.stat().st_mode & 0o077 == 0
        (scratch / "a").write_text("x")
    assert not scratch.exists()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "project")


def commit(folder: Path, files: dict[str, str]) -> str:
    write(folder, files)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "change", "--allow-empty")
    return git(folder, "rev-parse", "HEAD").decode().strip()[:12]


def in_commits(
    folder: Path, commits: str, scratch: Path, seed: int = 0
) -> tuple[list[File], CommitCounts]:
    return added_in_commits(folder, commits, seed, scratch / f"{commits}{seed}")


def test_files_of_commits(repository: Path, tmp_path: Path) -> None:
    commit(repository, {"a.py": OLD, "notes.txt": "no code"})
    second = commit(repository, {"a.py": NEW, "image.py": "\0"})
    (repository / "a.py").rename(repository / "b.py")
    commit(repository, {})  # a rename adds nothing
    fourth = commit(repository, {"b.py": NEW + "last_line = 1\n", "c.py": "third = 3\n"})
    files, counts = in_commits(repository, "9", tmp_path)
    assert added_paths(files) == {
        f"@{second}/a.py",
        f"@{second}/image.py",
        f"@{fourth}/b.py",
        f"@{fourth}/c.py",
    }
    assert counts == CommitCounts(used=2, too_large=0)
    for file in files:
        assert file.root.name == "project"
    trees = {
        file.root: {each.path: each.text for each in source_files(file.root)} for file in files
    }
    assert sorted(trees.values(), key=len) == [
        {"a.py": OLD},
        {"b.py": NEW, "image.py": "\0"},
    ]
    assert in_commits(repository, "1", tmp_path)[1].used == 1
    assert added_paths(in_commits(repository, "HEAD~3..HEAD~2", tmp_path)[0]) == {
        f"@{second}/a.py",
        f"@{second}/image.py",
    }


def test_no_other_new_file_of_the_commit_is_in_its_project(
    repository: Path, tmp_path: Path
) -> None:
    commit(repository, {"a.py": OLD})
    commit(repository, {"b.py": "b_value = 1\n", "c.py": "c_value = 2\n"})
    files, _ = in_commits(repository, "1", tmp_path)
    assert {file.name for root in {f.root for f in files} for file in root.rglob("*.py")} == {
        "a.py"
    }


def test_text_that_is_not_utf8_is_left_out(repository: Path, tmp_path: Path) -> None:
    commit(repository, {"a.py": OLD})
    (repository / "latin.py").write_bytes(b"x = '\xe9'\n")
    head = commit(repository, {"crlf.py": "x = 1\r\ny = 2\r\n", "empty.py": "\n"})
    files, _ = in_commits(repository, "1", tmp_path)
    assert {file.path: file.text for file in files} == {f"@{head}/crlf.py": "x = 1\ny = 2\n"}


def test_commits_that_change_very_many_files_are_left_out(repository: Path, tmp_path: Path) -> None:
    commit(repository, {"a.py": OLD})
    commit(repository, {f"m{i}.py": f"x = {i}\n" for i in range(MAX_CHANGED_FILES + 1)})
    small = commit(repository, {"a.py": NEW})
    files, counts = in_commits(repository, "9", tmp_path)
    assert added_paths(files) == {f"@{small}/a.py"}
    assert counts == CommitCounts(used=1, too_large=1)


def test_of_many_commits_some_are_drawn(repository: Path, tmp_path: Path) -> None:
    for number in range(MAX_COMMITS + 4):
        commit(repository, {f"m{number}.py": f"value_{number} = {number}\n"})
    drawn = [in_commits(repository, "99", tmp_path, seed)[0] for seed in (0, 1)]
    assert [len(files) for files in drawn] == [MAX_COMMITS, MAX_COMMITS]
    assert added_paths(drawn[0]) != added_paths(drawn[1])


def test_a_subfolder_of_a_repository(repository: Path, tmp_path: Path) -> None:
    commit(repository, {"a.py": OLD, "lib/b.py": OLD})
    head = commit(repository, {"a.py": NEW, "lib/b.py": NEW})
    files, _ = in_commits(repository / "lib", "9", tmp_path)
    assert added_paths(files) == {f"@{head}/b.py"}
    assert files[0].root.name == "lib"


def test_links_are_not_in_the_older_tree(repository: Path, tmp_path: Path) -> None:
    (repository / "link.py").symlink_to("/etc/passwd")
    commit(repository, {"a.py": OLD})
    commit(repository, {"a.py": NEW})
    files, _ = in_commits(repository, "1", tmp_path)
    assert [path.name for path in files[0].root.iterdir()] == ["a.py"]


def test_the_older_tree_has_limits(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"m{i}.py" for i in range(6)]
    commit(repository, dict.fromkeys(names, "x = 1\n"))
    commit(repository, {"m5.py": "y = 2\n", "a0.py": "z = 3\n"})
    monkeypatch.setattr(older_trees, "MAX_FILES", 4)
    files, _ = in_commits(repository, "1", tmp_path)
    assert {file.absolute_path.name for file in files} == {"m5.py", "a0.py"}
    assert sorted(path.name for path in files[0].root.iterdir()) == names[:4]
    monkeypatch.setattr(older_trees, "_MAX_TREE_BYTES", 12)
    files, _ = in_commits(repository, "01", tmp_path)
    assert sorted(path.name for path in files[0].root.iterdir()) == names[:2]


@pytest.mark.parametrize("commits", ["none..HEAD", "-1"])
def test_what_git_cannot_read_is_an_error(repository: Path, tmp_path: Path, commits: str) -> None:
    commit(repository, {"a.py": OLD})
    with pytest.raises(ConfigurationError, match="cannot be read"):
        in_commits(repository, commits, tmp_path)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        in_commits(tmp_path, "3", tmp_path / "x")


def test_a_path_that_is_a_file_and_a_folder(tmp_path: Path) -> None:
    older_trees._write_tree(tmp_path / "tree", {"a.py": "x", "a.py/b.py": "y", "c.py": "z"})
    assert (tmp_path / "tree/a.py").read_text() == "x"
    assert (tmp_path / "tree/c.py").read_text() == "z"
