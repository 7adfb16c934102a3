"""Earlier versions of files are read from git's objects: only regular files, only plain paths."""

from contextlib import suppress
from pathlib import Path

import pytest

from tests.workspace.git_oracle import git, make_repository
from tests.workspace.hostile import TRICKS, make_hostile_folder
from workspace import history
from workspace.git import GitError, NoRepositoryError
from workspace.history import TreeFile, list_commits, list_tree, read_blobs


def commit(folder: Path, files: dict[str, bytes], message: str = "change") -> str:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", message)
    return git(folder, "rev-parse", "HEAD").decode().strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "project")


def texts(folder: Path, revision: str) -> dict[str, bytes]:
    files = list_tree(folder, revision)
    contents = read_blobs(folder, files)
    return {file.path: contents[file.blob] for file in files}


def test_a_tree_is_read_as_it_was(repository: Path) -> None:
    first = commit(repository, {"a.py": b"a\n", "lib/b.py": b"b\n", "empty.py": b""})
    (repository / "a.py").unlink()
    second = commit(repository, {"lib/b.py": b"c\n\0\xff", "lib/with space.py": b"d"})
    assert texts(repository, first) == {"a.py": b"a\n", "lib/b.py": b"b\n", "empty.py": b""}
    assert texts(repository, second) == {
        "lib/b.py": b"c\n\0\xff",
        "lib/with space.py": b"d",
        "empty.py": b"",
    }
    assert texts(repository / "lib", f"{second}^") == {"b.py": b"b\n"}
    assert [file.size for file in list_tree(repository / "lib", second)] == [4, 1]


def test_links_and_submodules_are_no_files(repository: Path) -> None:
    (repository / "link.py").symlink_to("/etc/passwd")
    inner = make_repository(repository / "inner")
    commit(inner, {"c.py": b"c"})
    head = commit(repository, {"a.py": b"a"})
    assert texts(repository, head) == {"a.py": b"a"}


def test_merges_roots_and_commits_elsewhere_are_left_out(repository: Path) -> None:
    root = commit(repository, {"a.py": b"a"})
    git(repository, "checkout", "-q", "-b", "side")
    side = commit(repository, {"lib/b.py": b"b"})
    git(repository, "checkout", "-q", "main")
    main = commit(repository, {"c.py": b"c"})
    git(repository, "merge", "-q", "--no-ff", "-m", "merge", "side")
    assert set(list_commits(repository, "HEAD", 9)) == {side, main}
    assert list_commits(repository, f"{root}..main^", 9) == [main]
    assert len(list_commits(repository, "HEAD", 1)) == 1
    assert list_commits(repository / "lib", "HEAD", 9) == [side]


def test_a_shallow_clone_ends_before_its_first_commit(repository: Path, tmp_path: Path) -> None:
    commits = [commit(repository, {"a.py": str(i).encode()}) for i in range(4)]
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", "--depth", "2", repository.as_uri(), str(clone))
    assert list_commits(clone, "HEAD", 9) == commits[3:]
    assert texts(clone, f"{commits[3]}^") == {"a.py": b"2"}


def test_a_bare_repository_and_none_are_refused(repository: Path, tmp_path: Path) -> None:
    commit(repository, {"a.py": b"a"})
    bare = tmp_path / "bare"
    git(tmp_path, "clone", "-q", "--bare", str(repository), str(bare))
    (tmp_path / "plain").mkdir()
    for folder in (bare, tmp_path / "plain"):
        with pytest.raises(NoRepositoryError):
            list_commits(folder, "HEAD", 9)


@pytest.mark.parametrize("revisions", ["none", "--all", "--output=x", "a..none", ""])
def test_what_is_no_range_is_an_error(repository: Path, revisions: str) -> None:
    commit(repository, {"a.py": b"a"})
    commit(repository, {"a.py": b"b"})
    with pytest.raises(GitError):
        list_commits(repository, revisions, 9)
    assert not (repository / "x").exists()


def raw_tree(folder: Path, entries: dict[bytes, bytes]) -> str:
    """Write a tree that git would not make, with these names, and return a commit of it."""
    blob = git(folder, "hash-object", "-w", "--stdin", content=b"x").strip()
    raw = b""
    for name, mode in sorted(entries.items()):
        raw += mode + b" " + name + b"\0" + bytes.fromhex(blob.decode())
    command = ("hash-object", "-w", "-t", "tree", "--literally", "--stdin")
    tree = git(folder, *command, content=raw).decode().strip()
    return git(folder, "commit-tree", tree, content=b"m").decode().strip()


def test_paths_that_leave_the_folder_are_left_out(repository: Path) -> None:
    names = (b"..", b".git", b".GIT", b"/x.py", b"../x.py", b"a\\b.py", b"c:x.py", b"\xff.py")
    odd = dict.fromkeys((*names, b"line\nfeed.py", b"n" * 300), b"100644")
    head = raw_tree(repository, {**odd, b"good.py": b"100644", b"also.py": b"100755"})
    assert [file.path for file in list_tree(repository, head)] == ["also.py", "good.py"]


def test_a_tree_that_is_too_large_is_an_error(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = commit(repository, {f"{i}.py": b"a" for i in range(9)})
    monkeypatch.setattr(history, "_MAX_TREE_OUTPUT", 100)
    with pytest.raises(GitError, match="too many files"):
        list_tree(repository, head)


def test_contents_come_in_batches(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {f"{i}.py": b"%d" % i * 20 for i in range(9)}
    head = commit(repository, files)
    monkeypatch.setattr(history, "_MAX_BATCH_BYTES", 50)
    assert texts(repository, head) == files


def test_a_missing_content_is_an_error(repository: Path) -> None:
    commit(repository, {"a.py": b"a"})
    with pytest.raises(GitError, match="missing"):
        read_blobs(repository, [TreeFile("a.py", "0" * 40, 3)])


def test_replaced_objects_are_not_used(repository: Path) -> None:
    first, second = (commit(repository, {"a.py": text}) for text in (b"a", b"b"))
    old, new = (list_tree(repository, each)[0].blob for each in (first, second))
    git(repository, "replace", old, new)
    assert texts(repository, first) == {"a.py": b"a"}


@pytest.mark.parametrize("trick", TRICKS)
def test_no_program_of_the_repository_runs(tmp_path: Path, trick: str) -> None:
    hostile = make_hostile_folder(tmp_path)
    hostile.git("commit", "-q", "-m", "water")
    TRICKS[trick](hostile)
    with suppress(GitError):
        commits = list_commits(hostile.root, "HEAD", 9)
        for each in (*commits, *(f"{name}^" for name in commits)):
            texts(hostile.root, each)
    assert not hostile.mark.exists()


def test_a_partial_clone_without_the_contents_is_an_error(tmp_path: Path) -> None:
    hostile = make_hostile_folder(tmp_path)
    hostile.git("commit", "-q", "-m", "water")
    TRICKS["missing object"](hostile)
    with pytest.raises(GitError, match="missing"):
        list_tree(hostile.root, "HEAD")
    assert not hostile.mark.exists()
