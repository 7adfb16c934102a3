"""Holes restore their files, fillings are compared as they should be, runs are resumed."""

import gzip
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from engine.errors import ConfigurationError
from engine.scripted import ScriptedEngine
from fim.completer import FimSettings
from fim.evaluation.holes import File, Hole, Kind, draw, read_holes, source_files
from fim.evaluation.report import certainties, percentile, rows
from fim.evaluation.run import Evaluator, measure
from lsp_server.cli.app import app

PYTHON = '''\
"""A module."""


def größe(numbers: list[int]) -> float:
    """Return the mean. 🎉 It is 0 of none.

    More words.
    """
    if not numbers:
        return 0.0
    return sum(numbers) / len(numbers)


class A:
    def method(self):
        return 1
'''
GO = "package a\n\nfunc Add(a int, b int) int {\n\t// sum\n\treturn a + b\n}\n"


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_restores_its_file(kind: Kind) -> None:
    files = [File("a.py", "python", PYTHON), File("b.go", "go", GO)]
    holes = draw(files, [kind], 30, 0)
    assert holes
    texts = {PYTHON, GO}
    for hole in holes:
        assert hole.prefix + hole.middle + hole.suffix in texts
        assert hole.middle.strip()
    assert len({hole.name for hole in holes}) == len(holes)
    assert holes == draw(files, [kind], 30, 0)


@pytest.mark.parametrize(
    ("kind", "file", "middles"),
    [
        (Kind.RETURN, File("a.py", "python", PYTHON), {"float"}),
        (Kind.RETURN, File("b.go", "go", GO), {"int"}),
        (Kind.DOCSTRING, File("a.py", "python", PYTHON),
         {"Return the mean. 🎉 It is 0 of none.\n\n    More words.\n    "}),
        (Kind.BODY, File("b.go", "go", GO), {"\n\t// sum\n\treturn a + b"}),
    ],
)  # fmt: skip
def test_what_is_cut_out(kind: Kind, file: File, middles: set[str]) -> None:
    assert {hole.middle for hole in draw([file], [kind], 20, 0)} == middles


def test_files_come_from_git_or_the_folder(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(PYTHON)
    (tmp_path / "words.txt").write_text("no code")
    (tmp_path / "latin.py").write_bytes(b"\xe9")
    assert [file.path for file in source_files(tmp_path)] == ["a.py"]
    with pytest.raises(ConfigurationError):
        source_files(tmp_path / "none")


def test_human_evals_form_is_read(tmp_path: Path) -> None:
    file = tmp_path / "tasks.jsonl.gz"
    task = {
        "task_id": "t/1",
        "prompt": "def f():\n",
        "suffix": "",
        "canonical_solution": "  return 1\n",
    }
    with gzip.open(file, "wt", encoding="utf-8") as lines:
        lines.write(json.dumps(task) + "\n")
    assert read_holes(file) == [Hole("t/1", "python", "line", "def f():\n", "  return 1\n", "")]
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"question": 1}\n')
    with pytest.raises(ConfigurationError, match="line 1"):
        read_holes(bad)


LINE = Hole("a", "python", Kind.LINE, "x = [", "1, 2]", "\ny = 3\n")


@pytest.mark.parametrize(
    ("text", "exact", "parses"),
    [("1, 2]", True, True), ("1, 2] ", True, True), ("3]", False, True), ("3", False, False)],
)
def test_a_filling_is_compared(text: str, exact: bool, parses: bool) -> None:
    record = measure(LINE, "raw", text, LINE.prefix + text + LINE.suffix, 1.0)
    assert (record.exact, record.parses) == (exact, parses)
    assert (record.similarity == 1.0) is exact


async def test_both_ways_are_filled_and_one_shows_what_a_user_would_see() -> None:
    engine = ScriptedEngine(lambda _: "1, 2]]\nmore")
    records = [r async for r in Evaluator(engine, FimSettings()).fill([LINE])]
    assert [(r.way, r.text) for r in records] == [("raw", "1, 2]]"), ("pipeline", "1, 2]")]
    assert [r.exact for r in records] == [False, True]
    done = {("a", "raw")}
    again = [r.way async for r in Evaluator(engine, FimSettings()).fill([LINE], done)]
    assert again == ["pipeline"]


async def test_what_stands_right_of_the_cursor_is_not_counted_as_filled() -> None:
    hole = Hole("a", "python", Kind.SPAN, "f(", "a, b", ")\n")
    engine = ScriptedEngine(lambda _: "a, b)\n")
    records = [r async for r in Evaluator(engine, FimSettings()).fill([hole])]
    assert records[1].text == "a, b"
    assert records[1].exact


def test_rows_and_percentiles() -> None:
    records = [measure(LINE, "raw", text, LINE.prefix + text + LINE.suffix, ms)
               for text, ms in (("1, 2]", 10.0), ("", 20.0), ("9]", 30.0))]  # fmt: skip
    (row,) = rows(records, lambda record: record.kind)
    assert (row.holes, row.group, row.way) == (3, "line", "raw")
    assert row.shown == pytest.approx(2 / 3)
    assert row.exact == pytest.approx(1 / 3)
    assert row.parses == 1.0
    assert (row.p50_ms, row.p95_ms) == (20.0, 30.0)
    assert percentile([1.0], 0.95) == 1.0


def test_what_thresholds_would_show() -> None:
    records = [
        measure(LINE, "pipeline", text, LINE.prefix + text + LINE.suffix, 1.0, confidence)
        for text, confidence in (("1, 2]", 0.9), ("9]", 0.4), ("8]", 0.001), ("", 1.0))
    ]
    by_least = {row.least: row for row in certainties(records)}
    assert (by_least[0.0].shown, by_least[0.0].precision) == (1.0, pytest.approx(1 / 3))
    assert by_least[0.01].shown == pytest.approx(2 / 3)
    assert (by_least[0.5].precision, by_least[0.5].recall) == (1.0, 1.0)
    assert certainties([]) == []


@pytest.mark.usefixtures("own_engines")
def test_the_command_resumes(tiny_checkpoint: Path, tmp_path: Path) -> None:
    project, out = tmp_path / "project", tmp_path / "out.jsonl"
    project.mkdir()
    (project / "a.py").write_text(PYTHON)
    arguments = ["eval", str(project), "--model", str(tiny_checkpoint), "--count", "4",
                 "--device", "cpu", "--out", str(out)]  # fmt: skip
    first = CliRunner().invoke(app, arguments)
    assert first.exit_code == 0, first.output
    lines = out.read_text().splitlines()
    assert len(lines) == 8
    # As after a kill in the middle of a line: what is whole is kept, the rest is done again.
    out.write_text("\n".join(lines[:5]) + "\n" + lines[5][:20])
    second = CliRunner().invoke(app, arguments)
    assert second.exit_code == 0, second.output
    kept = out.read_text().splitlines()
    assert kept[:5] == lines[:5]
    assert len([json.loads(line) for line in kept]) == 8
    assert "pipeline" in second.output
    empty = CliRunner().invoke(app, ["eval", str(tmp_path / "none")])
    assert empty.exit_code == 1
    assert "neither a folder" in empty.output
