"""Holes restore their files, fillings are compared correctly, and runs are resumed."""

import gzip
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from engine.errors import ConfigurationError
from engine.scripted import ScriptedEngine
from fim.evaluation.files import File, source_files
from fim.evaluation.holes import Hole, HoleKind, draw_holes, read_holes
from fim.evaluation.plot import draw_plot
from fim.evaluation.report import calibrations, percentile, rows, threshold_rows
from fim.evaluation.run import Evaluator, Filling, Record, as_edited, measure
from fim.settings import FimSettings
from lsp_server.cli.app import app
from sandbox.backends import Backend
from sandbox.command import Limits, Outcome
from sandbox.sandbox import Sandbox

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


@pytest.mark.parametrize("kind", list(HoleKind))
def test_every_kind_restores_its_file(kind: HoleKind) -> None:
    files = [File("a.py", "python", PYTHON), File("b.go", "go", GO)]
    holes = draw_holes(files, [kind], 30, 0)
    assert holes
    texts = {PYTHON, GO}
    for hole in holes:
        assert hole.prefix + hole.middle + hole.suffix in texts
        assert hole.middle.strip()
    if kind is HoleKind.SPAN:
        assert any("\n" in hole.middle for hole in holes)
    assert len({hole.name for hole in holes}) == len(holes)
    assert holes == draw_holes(files, [kind], 30, 0)


@pytest.mark.parametrize(
    ("kind", "file", "middles"),
    [
        (HoleKind.RETURN, File("a.py", "python", PYTHON), {"float"}),
        (HoleKind.RETURN, File("b.go", "go", GO), {"int"}),
        (
            HoleKind.DOCSTRING,
            File("a.py", "python", PYTHON),
            {"Return the mean. 🎉 It is 0 of none.\n\n    More words.\n    "},
        ),
        (HoleKind.BODY, File("b.go", "go", GO), {"\n\t// sum\n\treturn a + b"}),
    ],
)
def test_the_middles_of_each_kind(kind: HoleKind, file: File, middles: set[str]) -> None:
    assert {hole.middle for hole in draw_holes([file], [kind], 20, 0)} == middles


def test_files_come_from_git_or_the_folder(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(PYTHON)
    (tmp_path / "words.txt").write_text("no code")
    (tmp_path / "latin.py").write_bytes(b"\xe9")
    assert [file.path for file in source_files(tmp_path)] == ["a.py"]
    with pytest.raises(ConfigurationError):
        source_files(tmp_path / "none")


def test_the_format_of_human_eval_is_read(tmp_path: Path) -> None:
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
    with gzip.open(file, "wt", encoding="utf-8") as lines:
        lines.write(json.dumps({**task, "test": "def check(f): ...", "entry_point": "f"}) + "\n")
    assert read_holes(file)[0].test == "def check(f): ...\ncheck(f)\n"
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"question": 1}\n')
    with pytest.raises(ConfigurationError, match="line 1"):
        read_holes(bad)


LINE = Hole("a", "python", HoleKind.LINE, "x = [", "1, 2]", "\ny = 3\n")


def filled(
    text: str, mode: str = "model", milliseconds: float = 1.0, confidence: float = 1.0
) -> Record:
    applied = LINE.prefix + text + LINE.suffix
    return measure(LINE, mode, Filling(text, applied, milliseconds, confidence))


@pytest.mark.parametrize(
    ("text", "exact", "parses"),
    [("1, 2]", True, True), ("1, 2] ", True, True), ("3]", False, True), ("3", False, False)],
)
def test_a_filling_is_compared(text: str, exact: bool, parses: bool) -> None:
    record = filled(text)
    assert (record.exact, record.parses) == (exact, parses)
    assert (record.similarity == 1.0) is exact


async def test_holes_are_filled_in_both_modes() -> None:
    engine = ScriptedEngine(lambda _: "1, 2]]\nmore")
    records = [r async for r in Evaluator(engine, FimSettings()).fill([LINE])]
    by_mode = {r.mode: (r.text, r.exact) for r in records}
    assert by_mode == {"model": ("1, 2]]", False), "pipeline": ("1, 2]", True)}
    done = {("a", "model")}
    resumed = [r.mode async for r in Evaluator(engine, FimSettings()).fill([LINE], done)]
    assert resumed == ["pipeline"]


async def test_replaced_text_is_not_part_of_the_filling() -> None:
    hole = Hole("a", "python", HoleKind.SPAN, "f(", "a, b", ")\n")
    engine = ScriptedEngine(lambda _: "a, b)\n")
    records = [r async for r in Evaluator(engine, FimSettings()).fill([hole])]
    (record,) = [record for record in records if record.mode == "pipeline"]
    assert record.text == "a, b"
    assert record.exact


async def test_only_the_first_filling_of_a_hole_is_timed() -> None:
    holes = [replace(LINE, name=name) for name in "abcd"]
    records = [r async for r in Evaluator(ScriptedEngine(lambda _: "1"), FimSettings()).fill(holes)]
    assert len(records) == 8
    assert [r.timed for r in records] == [True] * 4 + [False] * 4
    assert {r.name for r in records if r.timed} == set("abcd")
    assert sorted(r.mode for r in records if r.timed) == ["model"] * 2 + ["pipeline"] * 2
    by_mode = {row.mode: row for row in rows(records, lambda _: "all")}
    assert by_mode["model"].p50_ms in [r.milliseconds for r in records if r.timed]


def test_rows_and_percentiles() -> None:
    texts = (("1, 2]", 10.0), ("", 20.0), ("9]", 30.0))
    records = [filled(text, milliseconds=ms) for text, ms in texts]
    (row,) = rows(records, lambda record: record.kind)
    assert (row.holes, row.group, row.mode) == (3, "line", "model")
    assert row.shown == pytest.approx(2 / 3)
    assert row.exact == pytest.approx(1 / 3)
    assert row.parses == 1.0
    assert (row.p50_ms, row.p95_ms) == (20.0, 30.0)
    assert percentile([1.0], 0.95) == 1.0


def test_the_table_of_thresholds() -> None:
    records = [
        filled(text, "pipeline", confidence=confidence)
        for text, confidence in (("1, 2]", 0.9), ("9]", 0.4), ("8]", 0.001), ("", 1.0))
    ]
    by_threshold = {row.min_confidence: row for row in threshold_rows(records)}
    assert (by_threshold[0.0].shown, by_threshold[0.0].precision) == (1.0, pytest.approx(1 / 3))
    assert by_threshold[0.01].shown == pytest.approx(2 / 3)
    assert (by_threshold[0.5].precision, by_threshold[0.5].recall) == (1.0, 1.0)
    assert threshold_rows([]) == []


def test_the_calibration_error() -> None:
    confident = [
        filled(text, "pipeline", confidence=0.95) for text in ("1, 2]", "1, 2]", "9]", "8]")
    ]
    uncertain = [filled("9]", "pipeline", confidence=0.05), filled("", "pipeline", confidence=1.0)]
    (calibration,) = calibrations([*confident, *uncertain, filled("9]", "model")], lambda _: "all")
    assert [(bin_.low, bin_.count, bin_.right) for bin_ in calibration.bins] == [
        (0.0, 1, 0.0),
        (0.9, 4, 0.5),
    ]
    assert calibration.error == pytest.approx((4 * 0.45 + 1 * 0.05) / 5)
    perfect = [filled("1, 2]", "pipeline", confidence=1.0)]
    assert calibrations(perfect, lambda _: "all")[0].error == 0.0


def test_the_first_non_empty_line_is_compared() -> None:
    block = Hole("a", "python", HoleKind.BLOCK, "def f():\n", "\n    a = 1\n    b = 2", "\n")
    for text, first in (("    a = 1\n    c", True), ("    b = 2", False), ("", False)):
        record = measure(block, "pipeline", Filling(text, block.prefix + text + block.suffix, 1.0))
        assert (record.first, record.exact) == (first, False)


def test_a_plot_is_an_image(tmp_path: Path) -> None:
    records = [
        filled(text, mode, ms, 0.5)
        for mode in ("model", "pipeline")
        for text, ms in (("1, 2]", 10.0), ("9]", 20.0))
    ]
    for name, magic in (("a.png", b"\x89PNG"), ("a.svg", b"<?xml")):
        draw_plot(records, tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(magic)
    with pytest.raises(ConfigurationError, match=r"\.svg"):
        draw_plot(records, tmp_path / "a.txt")


def test_without_matplotlib_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    arguments = ["eval", str(tmp_path), "--plot", str(tmp_path / "a.png")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert "starcoder-lsp[train]" in " ".join(result.output.split())


TESTED = Hole(
    "t",
    "python",
    HoleKind.LINE,
    "def f(a):\n    b = a\n",
    "    c = b + 1\n",
    "    return c\n",
    "assert f(1) == 2",
)


def test_holes_of_whole_lines_are_adapted_to_an_editor() -> None:
    edited = as_edited(TESTED)
    assert (edited.prefix[-8:], edited.middle) == ("= a\n    ", "c = b + 1")
    assert edited.suffix == "\n    return c\n"
    assert as_edited(LINE) == LINE


@pytest.mark.parametrize(
    ("output", "passed"),
    [
        ("    c = b + 1\n", True),
        ("    c = 1 + b\n    x = 1\n", True),  # correct but not exact
        ("    c = b\n", False),
        ("    while True: pass\n", False),
    ],
)
async def test_the_tests_of_a_hole_are_run(output: str, passed: bool) -> None:
    programs: list[str] = []

    def run_test(program: str) -> bool:
        programs.append(program)
        return Sandbox(Backend.NONE, Limits(seconds=3)).run(program) is Outcome.PASSED

    engine = ScriptedEngine(lambda _: output)
    # In the pipeline the cursor is after the indentation.
    edited = ScriptedEngine(lambda _: output.strip() + "\n")
    for used, mode in ((engine, "model"), (edited, "pipeline")):
        evaluator = Evaluator(used, FimSettings(), run_test)
        done = {("t", other) for other in ("model", "pipeline") if other != mode}
        (record,) = [r async for r in evaluator.fill([TESTED], done)]
        assert (record.mode, record.passed) == (mode, passed)
        assert record.exact is (output == TESTED.middle)
    assert all("    return c\n" in program for program in programs)
    untested = [r async for r in Evaluator(engine, FimSettings()).fill([TESTED])]
    assert [r.passed for r in untested] == [None, None]


@pytest.mark.usefixtures("own_engines")
def test_the_command_runs_tests_and_reports(tiny_checkpoint: Path, tmp_path: Path) -> None:
    file, report, plot = (tmp_path / name for name in ("t.jsonl", "report.json", "plot.svg"))
    file.write_text(json.dumps(asdict(TESTED)) + "\n")
    arguments = [
        "eval",
        str(file),
        "--model",
        str(tiny_checkpoint),
        "--device",
        "cpu",
        "--run-unsandboxed",
        "--json",
        str(report),
        "--plot",
        str(plot),
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "pass@1" in result.output
    kinds = json.loads(report.read_text())["kind"]
    assert [(row["mode"], row["tested"]) for row in kinds] == [("model", 1), ("pipeline", 1)]
    assert plot.exists()
    arguments = [
        "eval",
        str(file),
        "--model",
        str(tiny_checkpoint),
        "--device",
        "cpu",
        "--no-tests",
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "pass@1" not in result.output


HUMAN_EVAL = Path(__file__).parents[4] / "shared/data/human_eval_infilling"


@pytest.mark.skipif(not HUMAN_EVAL.exists(), reason="optional: HumanEval-infilling is not here")
def test_the_solutions_of_human_eval_pass_its_tests() -> None:
    for name in ("SingleLine", "MultiLine"):
        holes = read_holes(HUMAN_EVAL / f"HumanEval-{name}Infilling.jsonl.gz")
        for hole in holes[:: len(holes) // 6]:
            for variant in (hole, as_edited(hole)):
                program = variant.prefix + variant.middle + variant.suffix
                run = Sandbox(Backend.NONE).run
                assert run(f"{program}\n\n{variant.test}") is Outcome.PASSED
                assert run(f"{program}\n\nraise ValueError\n{variant.test}") is Outcome.FAILED


@pytest.mark.usefixtures("own_engines")
def test_the_command_resumes(tiny_checkpoint: Path, tmp_path: Path) -> None:
    project, out = tmp_path / "project", tmp_path / "out.jsonl"
    project.mkdir()
    (project / "a.py").write_text(PYTHON)
    arguments = [
        "eval",
        str(project),
        "--model",
        str(tiny_checkpoint),
        "--count",
        "4",
        "--device",
        "cpu",
        "--out",
        str(out),
    ]
    first = CliRunner().invoke(app, arguments)
    assert first.exit_code == 0, first.output
    lines = out.read_text().splitlines()
    assert len(lines) == 8
    # This is the state after a kill within a line: complete lines are kept, the rest is repeated.
    out.write_text("\n".join(lines[:5]) + "\n" + lines[5][:20])
    second = CliRunner().invoke(app, arguments)
    assert second.exit_code == 0, second.output
    kept = out.read_text().splitlines()
    assert kept[:5] == lines[:5]
    assert len([json.loads(line) for line in kept]) == 8
    assert "pipeline" in second.output
    empty = CliRunner().invoke(app, ["eval", str(tmp_path / "none")])
    assert empty.exit_code == 1
    assert "no folder and no file" in empty.output
