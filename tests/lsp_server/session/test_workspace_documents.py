"""The workspace folder that contains a file, and the cells of a notebook before a cell."""

from pathlib import Path

import pytest
from lsprotocol import types
from pygls.workspace import Workspace

from fim.snapshot import Cell
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


def test_the_snapshot_of_a_notebook_cell_contains_the_cells_before_it() -> None:
    code, markup = types.NotebookCellKind.Code, types.NotebookCellKind.Markup
    texts = [(markup, "# Title"), (code, "import os"), (code, " \n"), (code, "os."), (code, "x")]
    uris = [f"file:///project/a.ipynb#{number}" for number in range(len(texts))]
    workspace = Workspace(ROOT.as_uri())
    workspace.put_notebook_document(
        types.DidOpenNotebookDocumentParams(
            types.NotebookDocument(
                "file:///project/a.ipynb",
                "jupyter-notebook",
                1,
                [types.NotebookCell(kind, uri) for uri, (kind, _) in zip(uris, texts, strict=True)],
            ),
            [
                types.TextDocumentItem(uri, "python", 1, text)
                for uri, (_, text) in zip(uris, texts, strict=True)
            ],
        )
    )
    snapshot = WorkspaceDocuments(lambda: workspace).snapshot(uris[3], types.Position(0, 3))
    assert snapshot.before == "os."
    assert snapshot.cells == (Cell("text", "# Title"), Cell("code", "import os"))
