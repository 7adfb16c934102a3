"""Interpreters of projects: they run in a sandbox, and show nothing else of the machine."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox.command import Command, Outcome
from sandbox.interpreters import Interpreter, node_of_path, python_of, text_of
from sandbox.sandbox import Sandbox

OURS = Path(os.path.realpath(sys.executable))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    for path in (folder, *folder.parents[:3]):
        path.chmod(0o755)  # if the tests run as root, the program is another user
    return folder


@pytest.fixture
def no_python_in_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


def prefix_in(box: Sandbox, python: Interpreter) -> str:
    """Return the environment that an interpreter has in a sandbox."""
    shown = replace(box, readable=python.readable)
    result = shown.run_command(Command((str(python.path), "-c", "import sys; print(sys.prefix)")))
    assert result.outcome is Outcome.PASSED, result.output
    return result.output.decode().strip()


@pytest.mark.parametrize("name", [".venv", "venv"])
@pytest.mark.parametrize("copies", [False, True])
def test_the_environment_of_a_project_runs(
    box: Sandbox, project: Path, name: str, copies: bool
) -> None:
    how = ["--copies"] if copies else ["--symlinks"]
    command = [str(OURS), "-m", "venv", "--without-pip", *how, str(project / name)]
    subprocess.run(command, check=True)
    python = python_of(project)
    assert python.path == project / name / "bin/python"
    assert prefix_in(box, python) == str(project / name)


def test_an_environment_that_is_a_link_runs(box: Sandbox, project: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    subprocess.run([str(OURS), "-m", "venv", "--without-pip", str(elsewhere)], check=True)
    (project / ".venv").symlink_to(elsewhere)
    assert prefix_in(box, python_of(project)) == str(project / ".venv")


def test_the_python_of_the_path_is_next(
    box: Sandbox, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = project / "bin"
    folder.mkdir()
    (folder / "python3").symlink_to(OURS)
    monkeypatch.setenv("PATH", f"bin:{folder}:{os.environ['PATH']}")
    monkeypatch.chdir(project)
    (project / ".venv/bin").mkdir(parents=True)
    (project / ".venv/bin/python").symlink_to(project / "removed")
    python = python_of(project)
    assert python.path == OURS  # the folder of the link is not shown
    assert prefix_in(box, python) == str(OURS.parents[1])


@pytest.mark.usefixtures("no_python_in_path")
def test_our_own_python_is_the_last(project: Path) -> None:
    assert python_of(project) == Interpreter(Path(sys.executable), ())


def test_our_own_python_runs(box: Sandbox) -> None:
    assert prefix_in(box, Interpreter(Path(sys.executable), ())) == sys.prefix


@pytest.mark.usefixtures("no_python_in_path")
@pytest.mark.parametrize("how", ["link", "home", "fifo", "loop", "script"])
def test_a_project_cannot_show_another_folder(project: Path, tmp_path: Path, how: str) -> None:
    secret = tmp_path / "secret/bin"
    secret.mkdir(parents=True)
    (secret / "python").write_text("#!/bin/sh\n")
    (secret / "python").chmod(0o755)
    programs = project / ".venv/bin"
    programs.mkdir(parents=True)
    if how == "fifo":
        os.mkfifo(project / ".venv/pyvenv.cfg")
    else:
        (project / ".venv/pyvenv.cfg").write_text(f"home = {secret}\n" if how == "home" else "")
    if how == "loop":
        (programs / "python").symlink_to("python")
    elif how == "link":
        (programs / "python").symlink_to(secret / "python")
    else:
        (programs / "python").write_text(f"#!/bin/sh\ntouch {project}/ran\n")
        (programs / "python").chmod(0o755)
    assert python_of(project) == Interpreter(Path(sys.executable), ())
    assert not (project / "ran").exists()


def test_a_script_of_pyenv_is_replaced_by_its_python(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shims = tmp_path / "pyenv/shims"
    shims.mkdir(parents=True)
    (shims / "python3").write_text("#!/bin/sh\n")
    (shims / "python3").chmod(0o755)
    for version in ("3.98.0", "3.99.0"):
        programs = tmp_path / "pyenv/versions" / version / "bin"
        programs.mkdir(parents=True)
        (programs / "python3").symlink_to(OURS)
        (programs.parent / "pyvenv.cfg").write_text("")
    (tmp_path / "pyenv/version").write_text("3.98.0\n")
    monkeypatch.setenv("PATH", str(shims))
    assert "3.98.0" in str(python_of(project).path)
    (project / ".python-version").write_text("3.99.0\n")
    assert "3.99.0" in str(python_of(project).path)
    (project / ".python-version").write_text("../versions/3.99.0\n")
    assert "3.98.0" in str(python_of(project).path)


def test_the_home_folder_is_never_shown(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "node").write_text("")
    (programs / "node").chmod(0o755)
    (tmp_path / "include/node").mkdir(parents=True)
    monkeypatch.setenv("PATH", str(programs))
    node = node_of_path()
    assert node is not None
    assert node.readable == (programs / "node",)
    monkeypatch.setenv("PATH", str(project))
    assert node_of_path() is None


def test_a_pipe_or_a_folder_in_place_of_a_configuration_is_not_read(tmp_path: Path) -> None:
    """Reading a pipe would wait for ever for somebody who writes."""
    os.mkfifo(tmp_path / "pyvenv.cfg")
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("\ufeffhome = /x\n", encoding="utf-8")
    assert text_of(tmp_path / "pyvenv.cfg") == ""
    assert text_of(tmp_path / "folder") == ""
    assert text_of(tmp_path / "missing") == ""
    assert text_of(tmp_path / "file") == "home = /x\n"
