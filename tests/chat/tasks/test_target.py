"""Which files a proposal may change."""

from pathlib import Path

import pytest

from chat.tasks.target import WorkspaceFiles
from engine.errors import RequestError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "a.py").write_bytes(b"x = 1\r\n")
    (folder / "binary.py").write_bytes(b"\xff")
    (folder / "linked").symlink_to(tmp_path)
    return folder


def test_a_text_file_and_a_new_file_may_be_changed(root: Path) -> None:
    files = WorkspaceFiles(root, boundary=root)
    assert files.read_to_edit(root / "a.py") == "x = 1\r\n"
    assert files.read_to_edit(root / "tests" / "test_a.py") is None


@pytest.mark.parametrize("name", ["binary.py", "linked/new.py", "../new.py"])
def test_no_other_file_may_be_changed(root: Path, name: str) -> None:
    with pytest.raises(RequestError, match="not a text file of this workspace"):
        WorkspaceFiles(root, boundary=root).read_to_edit(root / name)


def test_without_a_workspace_folder_a_new_file_may_be_anywhere(root: Path) -> None:
    assert WorkspaceFiles(root).read_to_edit(root / ".." / "new.py") is None


def test_the_text_of_the_editor_precedes_the_file(root: Path) -> None:
    files = WorkspaceFiles(root, lambda path: "open" if path.name == "binary.py" else None, root)
    assert files.read_to_edit(root / "binary.py") == "open"
