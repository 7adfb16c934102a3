"""The workspace folder that contains a file, and the cells of a notebook before a cell."""

from pathlib import Path

import pytest
from lsprotocol import types
from pygls.workspace import Workspace

from engine.errors import RequestError
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
        (Path("/other/a.py"), None),
    ],
)
def test_the_folder_of_a_file_is_the_innermost_one_that_contains_it(
    file: Path, folder: Path | None
) -> None:
    assert documents_of(ROOT / "library", ROOT).folder_of(file) == folder


def test_without_workspace_folders_the_root_contains_all_files_below_it() -> None:
    assert documents_of().folder_of(ROOT / "library" / "a.py") == ROOT
    assert documents_of(root=None).folder_of(ROOT / "library" / "a.py") is None


def test_the_root_is_the_first_folder_of_a_client_without_a_root() -> None:
    documents = documents_of(Path("/w/J\xf6rg's [new] + project"), Path("/b"), root=None)
    assert documents.root_uri == "file:///w/J%C3%B6rg%27s%20%5Bnew%5D%20%2B%20project"
    assert documents_of(root=None).root_uri == ""
    assert documents_of(Path("/"), root=None).root_uri == "file:///"


@pytest.mark.parametrize("root", ["file:///work/a%20b/", "file:///work/a b", "FILE:///work/a%20b"])
def test_the_root_is_the_same_in_all_spellings(root: str) -> None:
    workspace = Workspace(root)
    assert WorkspaceDocuments(lambda: workspace).root_uri == "file:///work/a%20b"


TEXTS = ["# Title", "import os", " \n", "os.", "x"]


def notebook_of(*uris: str) -> WorkspaceDocuments:
    """Return a workspace with a notebook whose first cell is markup."""
    workspace = Workspace(ROOT.as_uri())
    kinds = [types.NotebookCellKind.Markup, *[types.NotebookCellKind.Code] * (len(uris) - 1)]
    cells = [types.NotebookCell(kind, uri) for kind, uri in zip(kinds, uris, strict=True)]
    items = [
        types.TextDocumentItem(uri, "python", 1, text)
        for uri, text in zip(uris, TEXTS, strict=True)
    ]
    notebook = types.NotebookDocument(NOTEBOOK, "jupyter-notebook", 1, cells)
    workspace.put_notebook_document(types.DidOpenNotebookDocumentParams(notebook, items))
    return WorkspaceDocuments(lambda: workspace)


NOTEBOOK = "file:///project/my%20notes.ipynb"


@pytest.mark.parametrize(
    ("opened", "asked"),
    [
        ("file:///project/a.ipynb#{}", "file:///project/a.ipynb#{}"),
        ("vscode-notebook-cell:/p/a.ipynb#W{}s%3D%3D", "vscode-notebook-cell:/p/a.ipynb#W{}s=="),
        ("vscode-notebook-cell:/p/J%C3%B6.ipynb#W{}", "vscode-notebook-cell:/p/J\xf6.ipynb#W{}"),
        (
            "vscode-notebook-cell://ssh-remote%2Bbox/a.ipynb#{}",
            "vscode-notebook-cell://ssh-remote+box/a.ipynb#{}",
        ),
        ("file:///p/a.ipynb.cell-{}.py", "file:///p/a.ipynb.cell-{}.py"),
        ("file:///p/a.ipynb.cell-{}.py", "file://localhost/p/a.ipynb.cell-{}.py"),
    ],
)
def test_the_snapshot_of_a_notebook_cell_contains_the_cells_before_it(
    opened: str, asked: str
) -> None:
    documents = notebook_of(*[opened.format(number) for number in range(5)])
    snapshot = documents.snapshot(asked.format(3), types.Position(0, 3))
    assert snapshot.before == "os."
    assert snapshot.cells == (Cell("text", "# Title"), Cell("code", "import os"))
    assert documents.cell_number(asked.format(3)) == 4
    cell = documents.document(asked.format(3))
    assert documents.file_of(cell) is None
    assert "cell of a notebook" in documents.why_no_file(cell)


def test_the_cells_of_a_notebook_that_is_open() -> None:
    documents = notebook_of(*[f"cell:{number}" for number in range(5)])
    cells = documents.notebook_cells("file:///project/my notes.ipynb")
    assert cells is not None
    assert [cell.text for cell in cells] == ["# Title", "import os", "os.", "x"]
    assert documents.notebook_cells("file:///project/other.ipynb") is None


def test_documents_whose_uris_differ_in_more_than_escapes_are_different() -> None:
    workspace = Workspace(ROOT.as_uri())
    for uri in ("file:///a%23b.py", "file:///a.py#b.py", "untitled:a.py", "file:///100%2525.py"):
        workspace.put_text_document(types.TextDocumentItem(uri, "python", 1, uri))
    documents = WorkspaceDocuments(lambda: workspace)
    assert documents.document("file:///a%23b.py").source == "file:///a%23b.py"
    assert documents.find_open("file:///a#b.py") is None
    assert documents.find_open("file:///a.py") is None
    assert documents.find_open("file:///100%25.py") is None
    assert documents.open_text("file:///100%2525.py") == "file:///100%2525.py"
    assert documents.open_text("file://localhost/100%25%32%35.py") == "file:///100%2525.py"
    with pytest.raises(RequestError, match=r"100%\.py is not open"):
        documents.document("file:///100%25.py")


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("untitled:Untitled-1", "Untitled-1 is not saved. Save it to a file first."),
        ("untitled:/w/new.py", "new.py is not saved. Save it to a file first."),
        (
            "buffer://1",
            "This document is not a file of this machine (buffer), so no file can use it.",
        ),
        ("file://", "This document is not saved. Save it to a file first."),
        ("vscode-vfs://github/me/a.py", "a.py is not a file of this machine (vscode-vfs)"),
        ("file://server/share/a.py", "a.py is not a file of this machine (file)"),
        ("jdt://contents/rt.jar/List.class?=x", "List.class is not a file of this machine (jdt)"),
    ],
)
def test_a_document_that_is_no_file_says_why(uri: str, reason: str) -> None:
    workspace = Workspace(None)
    workspace.put_text_document(types.TextDocumentItem(uri, "python", 1, "x"))
    documents = WorkspaceDocuments(lambda: workspace)
    document = documents.document(uri)
    assert documents.file_of(document) is None
    assert documents.why_no_file(document).startswith(reason)
