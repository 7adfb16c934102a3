"""Edits of documents that change while a task runs."""

from pathlib import Path

import pytest

from chat.tasks.target import DocumentEdit, FileEdit
from engine.errors import RequestError
from lsp_server.session.open_texts import OpenTexts, moved_edit

BEFORE = "import os\n\n\ndef f():\n    return 1\n\n\ndef g():\n    return 2\n"
START = BEFORE.index("    return 1")
REWRITE = DocumentEdit(
    "u", BEFORE.index("def f"), BEFORE.index("\n\n\ndef g"), "def f():\n    pass"
)
DOCSTRING = DocumentEdit("u", START, START, '    """Return one."""\n')


def applied(edit: DocumentEdit, text: str) -> str:
    return text[: edit.start] + edit.text + text[edit.end :]


@pytest.mark.parametrize("edit", [REWRITE, DOCSTRING])
@pytest.mark.parametrize(
    "now",
    [
        BEFORE,
        "# \N{PARTY POPPER} new\n" + BEFORE,
        BEFORE.removeprefix("import os\n"),
        BEFORE + "print(f())\n",
        BEFORE.replace("return 2", "return 3"),
        BEFORE[: BEFORE.index("\n\ndef g")],
    ],
)
def test_changes_elsewhere_move_the_edit(edit: DocumentEdit, now: str) -> None:
    moved = moved_edit(edit, BEFORE, now)
    expected = applied(edit, BEFORE)[edit.start : edit.start + len(edit.text)]
    assert applied(moved, now).count(expected) == 1
    assert applied(moved, now).replace(expected, BEFORE[edit.start : edit.end]) == now


@pytest.mark.parametrize(
    ("edit", "now"),
    [
        (REWRITE, BEFORE.replace("return 1", "return 10")),
        (REWRITE, BEFORE.replace("def f()", "def f(x)")),
        (REWRITE, BEFORE.replace("return 1\n", "return 1 + x\n")),
        (DOCSTRING, BEFORE.replace("    return 1", "        return 1")),
        (REWRITE, ""),
        (REWRITE, "x" + BEFORE + "y"),
    ],
)
def test_changes_of_the_code_itself_are_not_overwritten(edit: DocumentEdit, now: str) -> None:
    with pytest.raises(RequestError, match="changed while the model wrote"):
        moved_edit(edit, BEFORE, now)


def test_an_edit_at_the_end_follows_the_end() -> None:
    end = DocumentEdit("u", len(BEFORE), len(BEFORE), "# end\n")
    assert applied(moved_edit(end, BEFORE, "# top\n" + BEFORE), "# top\n" + BEFORE) == (
        "# top\n" + BEFORE + "# end\n"
    )


def test_a_file_is_open_under_each_of_its_paths(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    (real / "a.py").write_text("on disk")
    link.symlink_to(real)
    texts = OpenTexts({"u": "open", "v": "unsaved"}, {"u": link / "a.py"})
    for path in (link / "a.py", real / "a.py"):
        assert texts.text_of_file(path) == "open"
        assert texts.edit_of_document(FileEdit(path, 1, 2, "x")) == DocumentEdit("u", 1, 2, "x")
    other = FileEdit(real / "b.py", 1, 2, "x")
    assert texts.text_of_file(other.path) is None
    assert texts.edit_of_document(other) is other
    document_edit = DocumentEdit("v", 0, 0, "x")
    assert texts.edit_of_document(document_edit) is document_edit
