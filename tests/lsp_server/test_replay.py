"""Typing passages: what is typed is what the file had, and what is counted happened."""

import random
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fim.evaluation.holes import File
from lsp_server.cli.app import app
from lsp_server.cli.editor import Ghost
from lsp_server.cli.replay import Passage, passages, type_passage

TEXT = "def f(a):\n    if a:\n        return a\n    return 0\n\n\nx = f(1)\n"


@dataclass
class Editor:
    """Stands where the scripted editor does; suggests what it is told to."""

    text: str
    cursor: int
    suggest: dict[str, str] = field(default_factory=dict)
    """Suggestions by the end of the text before the cursor."""
    keys: list[str] = field(default_factory=list)

    async def press(self, key: str, pause: float) -> Ghost | None:
        self.edit(key)
        self.keys.append(key)
        before = self.text[: self.cursor]
        found = [text for end, text in self.suggest.items() if before.endswith(end)]
        return Ghost(found[0] if found else "", "model", 5.0)

    def edit(self, inserted: str) -> None:
        self.text = self.text[: self.cursor] + inserted + self.text[self.cursor :]
        self.cursor += len(inserted)

    def accept(self, ghost: Ghost) -> None:
        self.edit(ghost.text)


async def typed(suggest: dict[str, str]) -> tuple[Editor, object]:
    start, end = TEXT.index("    if"), TEXT.index("\n\n\nx") + 1
    editor = Editor(TEXT[:start] + TEXT[end:], start, suggest)
    passage = Passage(File("a.py", "python", TEXT), start, end)
    tally = await type_passage(editor, passage, 1, random.Random(0))  # type: ignore[arg-type]
    assert editor.text == TEXT[:end].rstrip("\n") + TEXT[end:]
    return editor, tally


async def test_without_suggestions_every_key_is_pressed() -> None:
    editor, tally = await typed({})
    assert tally.keys == len(editor.keys)  # type: ignore[attr-defined]
    assert "\n        " in editor.keys  # the editor indents by itself
    assert tally.accepted == tally.shown == 0  # type: ignore[attr-defined]


async def test_what_is_right_is_accepted_and_what_is_wrong_is_not() -> None:
    _, tally = await typed({"if": " a:\n        return a", "ret": "wrong("})
    assert tally.accepted == 1  # type: ignore[attr-defined]
    assert tally.accepted_characters == len("a:") + len("return a")  # type: ignore[attr-defined]
    assert tally.shown == 2  # type: ignore[attr-defined]
    _, plain = await typed({})
    assert tally.keys < plain.keys  # type: ignore[attr-defined]


def test_passages_are_whole_lines_of_files_that_are_long_enough() -> None:
    files = [File("a.py", "python", TEXT), File("b.py", "python", "x = 1\n"),
             File("c.py", "python", TEXT.replace("\n", "\r\n"))]  # fmt: skip
    found = passages(files, 9, 3, 0)
    assert [one.file.path for one in found] == ["a.py"]
    assert found == passages(files, 9, 3, 0)
    (one,) = found
    assert one.start == 0 or TEXT[one.start - 1] == "\n"
    assert TEXT[one.start : one.end].count("\n") == 3


@pytest.mark.usefixtures("own_engines")
def test_the_command_types_through_the_real_server(tiny_checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(TEXT)
    out = tmp_path / "out.json"
    arguments = ["replay", str(tmp_path), "--model", str(tiny_checkpoint), "--files", "1",
                 "--lines", "1", "--gap-ms", "20", "--eagerness", "eager",
                 "--json", str(out)]  # fmt: skip
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "keys pressed" in result.output
    assert '"keys"' in out.read_text()
