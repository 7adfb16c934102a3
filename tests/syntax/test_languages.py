"""Editors name languages differently."""

import pytest

from syntax.languages import language_id


@pytest.mark.parametrize(
    ("sent", "name", "expected"),
    [
        ("python", "file:///x.py", "python"),
        ("typescriptreact", "x.tsx", "typescriptreact"),
        # Names of the editors' modes.
        ("Python", "x.py", "python"),
        ("C++", "x.h", "cpp"),
        ("c++", "x.cc", "cpp"),
        ("c++-ts", "x.cc", "cpp"),
        ("python-ts-mode", "x.py", "python"),
        ("source.python", "x.py", "python"),
        ("JavaScript (JSX)", "x.jsx", "javascriptreact"),
        ("golang", "x.go", "go"),
        ("Bash", "x", "shellscript"),
        # Without an id, the name decides.
        ("", "file:///w/x.py", "python"),
        (" ", "untitled:X.PY", "python"),
        ("", "x", ""),
        ("", "vscode-notebook-cell:/n.ipynb#W0", ""),
        # What the user chose, and what is not known, is kept.
        ("plaintext", "x.py", "plaintext"),
        ("htmldjango", "x.html", "htmldjango"),
        ("Robot Framework", "x.py", "Robot Framework"),
    ],
)
def test_the_language_of_a_document(sent: str, name: str, expected: str) -> None:
    assert language_id(sent, name) == expected
