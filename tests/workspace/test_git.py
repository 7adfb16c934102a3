"""git in a hostile folder: no program of the folder runs, nothing hangs, no process remains."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.workspace.hostile import TRICKS, HostileFolder, make_hostile_folder
from training.history import read_commits
from training.repository import read_repository
from workspace import git
from workspace.git import GitError, ignored_paths, list_files, run_git, staged_diff

UNSAFE = {
    "fsmonitor": ["ls-files", "-co"],
    "text converter": ["diff", "--cached"],
    "diff driver": ["diff", "--cached"],
    "external diff": ["diff", "--cached"],
    "signature check": ["log"],
    "missing object": ["diff", "--cached"],
    "bare repository": ["-C", "docs", "ls-files", "-co"],
}
"""Commands with which plain git runs the program, to show that the trick works at all."""


@pytest.fixture
def hostile(tmp_path: Path) -> HostileFolder:
    return make_hostile_folder(tmp_path)


@pytest.mark.parametrize("trick", UNSAFE)
def test_the_trick_works_with_plain_git(hostile: HostileFolder, trick: str) -> None:
    TRICKS[trick](hostile)
    command = ["git", "-C", str(hostile.root), *UNSAFE[trick]]
    subprocess.run(command, capture_output=True, check=False)
    assert hostile.mark.exists()


@pytest.mark.parametrize("trick", TRICKS)
def test_no_program_of_the_folder_runs(
    hostile: HostileFolder, trick: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    TRICKS[trick](hostile)
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", str(hostile.program))
    monkeypatch.setenv("GIT_PAGER", str(hostile.program))
    for folder in (hostile.root, hostile.root / "docs"):
        for untracked in (False, True):
            with suppress(GitError):
                list_files(folder, untracked=untracked)
        with suppress(GitError):
            staged_diff(folder, 10_000)
        with suppress(GitError):
            ignored_paths(folder, ["bread.py"])
        if folder.is_dir():
            list(read_commits(folder))
            read_repository(folder)
    assert not hostile.mark.exists()


def test_a_newer_variable_of_git_is_not_needed_against_remote_helpers(
    hostile: HostileFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Versions of git before 2.45 ignore GIT_NO_LAZY_FETCH."""
    TRICKS["missing object"](hostile)
    monkeypatch.delitem(git._SAFE_ENVIRONMENT, "GIT_NO_LAZY_FETCH")
    staged_diff(hostile.root, 10_000)
    assert not hostile.mark.exists()


def test_a_folder_in_the_form_of_a_bare_repository_is_no_repository(
    hostile: HostileFolder,
) -> None:
    TRICKS["bare repository"](hostile)
    with pytest.raises(GitError, match="bare repository"):
        list_files(hostile.root / "docs", untracked=True)


def test_files_and_diff_of_an_ordinary_repository(hostile: HostileFolder) -> None:
    (hostile.root / "new.py").write_text("")
    (hostile.root / "ignored.py").write_text("")
    (hostile.root / ".gitignore").write_text("ignored.py\n")
    assert list_files(hostile.root, untracked=False) == ["bread.py", "program.sh"]
    assert sorted(list_files(hostile.root, untracked=True)) == [
        ".gitignore",
        "bread.py",
        "new.py",
        "program.sh",
    ]
    diff = staged_diff(hostile.root, 10_000)
    assert "+def bake_bread(flour, water):" in diff
    assert staged_diff(hostile.root, 7) == diff[:7]


def test_a_variable_of_the_environment_does_not_choose_another_repository(
    hostile: HostileFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.fsmonitor")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", str(hostile.program))
    assert "bread.py" in list_files(hostile.root, untracked=True)
    assert not hostile.mark.exists()


def test_without_a_repository_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(GitError, match=r"^git: fatal: not a git repository[^\n]*$"):
        list_files(tmp_path, untracked=True)


def test_a_missing_git_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitError, match="git is not installed"):
        list_files(tmp_path, untracked=True)


def test_a_git_program_above_the_folder_is_not_run(
    hostile: HostileFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder belongs to a repository that contains the program."""
    for name in ("git", "timeout"):
        (hostile.root / name).symlink_to(hostile.program)
    inner = hostile.root / "inner"
    inner.mkdir()
    monkeypatch.setenv("PATH", os.pathsep.join([str(hostile.root), os.environ["PATH"]]))
    list_files(inner, untracked=True)
    ignored_paths(inner, ["a.py"])
    staged_diff(inner, 1000)
    assert not hostile.mark.exists()


def test_any_name_can_be_asked_about(hostile: HostileFolder) -> None:
    (hostile.root / ".gitignore").write_text("*\n")
    names = [":!a.py", ":(top)a", "-v", "--", "*.py", "a\nb", "\udcff", " ", "sub/new/a", "\\"]
    assert ignored_paths(hostile.root, names) == set(names)
    assert ignored_paths(hostile.root, ["bread.py"]) == set()  # it is tracked
    assert ignored_paths(hostile.root, []) == set()


@pytest.mark.parametrize("entry", ["", ".", "bin", "ABSOLUTE"])
def test_a_git_program_of_the_folder_is_not_run(
    hostile: HostileFolder, entry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (hostile.root / "bin").mkdir()
    for folder in (hostile.root, hostile.root / "bin"):
        (folder / "git").symlink_to(hostile.program)
        (folder / "timeout").symlink_to(hostile.program)
    monkeypatch.chdir(hostile.root)
    entry = str(hostile.root / "bin") if entry == "ABSOLUTE" else entry
    monkeypatch.setenv("PATH", os.pathsep.join([entry, os.environ["PATH"]]))
    assert "bread.py" in list_files(hostile.root, untracked=True)
    assert not hostile.mark.exists()


def _processes_with(text: str) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(text in argument for argument in process.info["cmdline"] or ())
    ]


def test_a_fifo_as_ignore_file_ends_at_the_time_limit(hostile: HostileFolder) -> None:
    os.mkfifo(hostile.root / ".gitignore")
    started = time.monotonic()
    with pytest.raises(GitError, match="took too long"):
        run_git(hostile.root, "ls-files", "-co", "--exclude-standard", timeout_s=0.3)
    assert time.monotonic() - started < 5
    assert _processes_with(str(hostile.root)) == []


def test_git_ends_when_its_caller_stops_it(hostile: HostileFolder) -> None:
    os.mkfifo(hostile.root / ".gitignore")
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    with pytest.raises(GitError, match="git was stopped"):
        list_files(hostile.root, untracked=True, should_stop=stop.is_set)
    assert _processes_with(str(hostile.root)) == []


def test_git_ends_although_its_caller_was_killed(hostile: HostileFolder) -> None:
    os.mkfifo(hostile.root / ".gitignore")
    program = (
        "from pathlib import Path\nfrom workspace.git import run_git\n"
        f"run_git(Path({str(hostile.root)!r}), 'ls-files', '-o', '--exclude-standard', timeout_s=1)"
    )
    caller = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    _wait_until(lambda: len(_processes_with(str(hostile.root))) > 1)
    caller.kill()
    caller.wait()
    _wait_until(lambda: not _processes_with(str(hostile.root)))


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_output_is_cut_at_its_limit(hostile: HostileFolder) -> None:
    for number in range(1500):  # more than fits into the pipe
        (hostile.root / f"{'long' * 50}-{number}.py").write_text("")
    output = run_git(hostile.root, "ls-files", "-o", max_bytes=1000)
    assert len(output) == 1000
    assert _processes_with(str(hostile.root)) == []
