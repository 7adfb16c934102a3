"""Recent edits of a project: what a prompt may show of them, and what must be forgotten."""

from dataclasses import replace
from pathlib import Path

import pytest

from fim.context.files import SourceFiles
from fim.context.open_files import OpenFile
from fim.context.recent_edits import MAX_CLOSED, MAX_EDITS, RecentEdits
from fim.snapshot import Edit, Snapshot

LINES = [f"bake bread {chr(97 + number // 10)}{number % 10}" for number in range(60)]
TEXT = "\n".join(LINES) + "\n"
KEY = "ghp_" + "aB3dE5fG7h" * 3 + "aB3dE5"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("a.py", "b.py", "secret.py", "ignored.py"):
        (tmp_path / name).write_text(TEXT)
    return tmp_path


def edits_in(root: Path) -> RecentEdits:
    files = SourceFiles(
        root,
        lambda file: file.name != "secret.py",
        lambda file: file.name == "ignored.py",
        use_git=False,
    )
    return RecentEdits(files)


def record(edits: RecentEdits, **texts: str) -> None:
    files = [OpenFile(f"{name}.py", "python", text, None) for name, text in texts.items()]
    edits.record(files, edits.num_closed)


def shown(edits: RecentEdits, path: str = "main.py", line: int = 59) -> list[Edit]:
    """Return the edits for a prompt at a line of a document that resembles all edits alike."""
    snapshot = Snapshot("u", "python", TEXT, TEXT.index(LINES[line] + "\n"), path=path)
    return list(edits.find(snapshot))


def changed(*numbers: int, to: str = "new") -> str:
    lines = [to if number in numbers else line for number, line in enumerate(LINES)]
    return "\n".join(lines) + "\n"


def test_an_edit_is_shown_with_two_lines_around_it(root: Path) -> None:
    edits = edits_in(root)
    record(edits, a=changed(30))
    above, below = tuple(LINES[28:30]), tuple(LINES[31:33])
    assert shown(edits) == [Edit("a.py", above, (LINES[30],), ("new",), below)]


def test_the_newest_edit_comes_first(root: Path) -> None:
    edits = edits_in(root)
    record(edits, a=changed(30))
    record(edits, a=changed(30), b=changed(5))
    record(edits, a=changed(30, 10), b=changed(5))
    assert [edit.removed == (LINES[10],) for edit in shown(edits)] == [True, False, False]
    assert [edit.path for edit in shown(edits)] == ["a.py", "b.py", "a.py"]


def test_edits_near_the_cursor_are_left_out(root: Path) -> None:
    edits = edits_in(root)
    record(edits, a=changed(30))
    assert [bool(shown(edits, "a.py", line)) for line in (9, 10, 30, 50, 51)] == [
        True,
        False,
        False,
        False,
        True,
    ]
    assert shown(edits, "b.py", 30)


def test_line_endings_are_no_edits(root: Path) -> None:
    edits = edits_in(root)
    record(edits, a=TEXT.replace("\n", "\r\n"))
    assert shown(edits) == []
    record(edits, a=changed(30).replace("\n", "\r\n"))
    (edit,) = shown(edits)
    assert "\r" not in edit.text


def test_similar_edits_come_first_and_others_are_left_out(root: Path) -> None:
    edits = edits_in(root)
    plain, similar = "heat the oven", "heat(oven, temperature)"
    record(edits, a=changed(10, to=similar) + similar, b=changed(10, to=plain))
    snapshot = Snapshot("u", "python", "oven.temperature = heat(", 24, path="main.py")
    assert [edit.path for edit in edits.find(snapshot)] == ["a.py", "a.py", "b.py"]
    assert edits.find(replace(snapshot, text="oven + water", cursor=12)) == ()
    far_away = "heat the oven " + "x\n" * 1000
    assert edits.find(replace(snapshot, text=far_away, cursor=len(far_away))) == ()


@pytest.mark.parametrize("name", ["secret", "ignored"])
def test_files_that_must_not_be_shown_have_no_edits(root: Path, name: str) -> None:
    edits = edits_in(root)
    record(edits, **{name: changed(30)})
    assert shown(edits) == []


def test_a_file_that_is_newly_excluded_has_no_edits(root: Path) -> None:
    is_allowed = True
    edits = RecentEdits(
        SourceFiles(root, lambda _: is_allowed, lambda _: False, use_git=False),
    )
    record(edits, a=changed(30))
    assert shown(edits)
    is_allowed = False
    assert shown(edits) == []


def test_edits_of_excluded_files_are_not_even_recorded(root: Path) -> None:
    is_allowed = False
    edits = RecentEdits(SourceFiles(root, lambda _: is_allowed, lambda _: False, use_git=False))
    record(edits, a=changed(30))
    is_allowed = True
    assert shown(edits) == []


@pytest.mark.parametrize("secret", [f'key = "{KEY}"', "someone@corp-mail.com"])
def test_edits_with_keys_and_addresses_are_left_out(root: Path, secret: str) -> None:
    edits = edits_in(root)
    record(edits, a=changed(30, to=secret), b=changed(5))
    assert [edit.path for edit in shown(edits)] == ["b.py"]
    # It is left out as well if it was only there before.
    record(edits, a=changed(30))
    (root / "b.py").write_text(changed(5, to=secret))
    later = edits_in(root)
    record(later, b=TEXT)
    assert shown(later) == []


def test_large_edits_are_left_out(root: Path) -> None:
    edits = edits_in(root)
    record(edits, a=changed(30, to="\n".join(["x"] * 31)), b=changed(30, to="x y " * 500 + "z"))
    assert shown(edits) == []
    record(edits, a=changed(30, to="\n".join(["x"] * 30)), b=changed(30, to="x y " * 500))
    assert len(shown(edits)) == 2


def test_documents_that_are_too_large_have_no_edits(root: Path) -> None:
    edits = edits_in(root)
    record(edits, a=changed(30) + "x" * 200_001)
    assert shown(edits) == []


def test_there_are_not_too_many(root: Path) -> None:
    edits = edits_in(root)
    record(edits, a=changed(*range(0, 60, 5)))
    assert len(shown(edits)) == MAX_EDITS < 12


def test_a_new_file_has_no_edits_at_first(root: Path) -> None:
    edits = edits_in(root)
    record(edits, new="bake = 1\n")
    assert shown(edits) == []
    record(edits, new="bake = 1\nbread = 2\n")
    assert [edit.path for edit in shown(edits)] == ["new.py"]


def test_a_document_closed_unsaved_has_no_edits(root: Path) -> None:
    edits = edits_in(root)
    record(edits, a=changed(30))
    edits.close("a.py")
    record(edits)
    assert shown(edits) == []


def test_a_document_closed_after_saving_keeps_its_edits(root: Path) -> None:
    edits = edits_in(root)
    record(edits, a=changed(30))
    (root / "a.py").write_text(changed(30))
    edits.close("a.py")
    record(edits)
    assert len(shown(edits)) == 1


def test_a_document_that_is_deleted_after_closing_has_no_edits(root: Path) -> None:
    edits = edits_in(root)
    record(edits, a=changed(30), b=changed(30))
    (root / "a.py").write_text(changed(30))
    edits.close("a.py")
    record(edits)
    (root / "a.py").unlink()
    edits.remove("a.py")
    edits.remove("b.py")  # still open
    assert [edit.path for edit in shown(edits)] == ["b.py"]
    edits.close("b.py")
    (root / "b.py").unlink()
    record(edits)
    assert shown(edits) == []


def test_the_edits_of_the_last_closed_documents_are_kept(root: Path) -> None:
    edits = edits_in(root)
    lines = {
        f"file{number}": f"{chr(97 + number) * 3} {chr(97 + number) * 4}" for number in range(23)
    }
    for name, line in lines.items():
        (root / f"{name}.py").write_text(TEXT)
        record(edits, **{name: changed(30, to=line)})
        (root / f"{name}.py").write_text(changed(30, to=line))
        edits.close(f"{name}.py")
        record(edits)
    kept = [
        name
        for name, line in lines.items()
        if edits.find(Snapshot("u", "python", line, len(line), path="main.py"))
    ]
    assert kept == list(lines)[-MAX_CLOSED:]
    assert len(kept) < len(lines)


def test_a_document_closed_without_edits_is_read_again_when_it_is_opened(root: Path) -> None:
    edits = edits_in(root)
    record(edits, a=TEXT)
    edits.close("a.py")
    record(edits)
    (root / "a.py").write_text(changed(5))  # by another program
    record(edits, a=changed(5))
    assert shown(edits) == []


def test_a_request_from_before_a_close_records_nothing(root: Path) -> None:
    edits = edits_in(root)
    record(edits, a=TEXT)
    before = edits.num_closed
    edits.close("a.py")
    edits.record([OpenFile("a.py", "python", changed(30), None)], before)
    assert shown(edits) == []
