"""The workspace folder that contains a file."""

from pathlib import Path

import pytest
from lsprotocol import types
from pygls.workspace import Workspace

from lsp_server.session.workspace_documents import WorkspaceDocuments

ROOT = Path("/work")


def documents_of(*folders: Path, root: Path | None = ROOT) -> WorkspaceDocuments:
    workspace = Workspace(
        None if root is None else root.as_uri(),
        workspace_folders=[types.WorkspaceFolder(folder.as_uri(), "") for folder in folders],
    )
    return WorkspaceDocuments(lambda: workspace)


@pytest.mark.parametrize(
    ("file", "folder"),
    [
        (ROOT / "a.py", ROOT),
        (ROOT / "library" / "src" / "a.py", ROOT / "library"),
        (ROOT / "library2" / "a.py", ROOT),
        (Path("/other/a.py"), Path("/other")),
    ],
)
def test_the_root_of_a_file_is_the_innermost_folder_that_contains_it(
    file: Path, folder: Path
) -> None:
    assert documents_of(ROOT / "library", ROOT).root_of(file) == folder


def test_without_workspace_folders_the_root_contains_all_files_below_it() -> None:
    assert documents_of().root_of(ROOT / "library" / "a.py") == ROOT
    assert documents_of(root=None).root_of(ROOT / "library" / "a.py") == ROOT / "library"
