"""The list of releases, their unpacking, and the figures of a measurement."""

import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import typer

from benchmarks.project_memory import __main__ as command
from benchmarks.project_memory import releases
from benchmarks.project_memory.measuring import VARIANTS, Row, choose_holes, shares
from benchmarks.project_memory.releases import LIST, Pair, PairFolders, download, read_pairs
from benchmarks.project_memory.summary import compare, summarize
from fim.settings import FimSettings
from training.collect import HELD_OUT, LISTS

OLD = "def f(a):\n    return a\n"
NEW = OLD + "\n\ndef g(b):\n    total = sum(b)\n    return total\n"


def test_the_pairs_are_not_in_the_training_data() -> None:
    pairs = read_pairs(LIST.read_text())
    trained = {line.split("==")[0] for line in (LISTS / "python.txt").read_text().split()}
    names = [pair.package for pair in pairs]
    assert not set(names) & trained
    assert not set(names) & HELD_OUT  # earlier decisions were made on these
    assert len(names) == len(set(names))
    assert [pair.use for pair in pairs].count("fit") == 7
    assert [pair.use for pair in pairs].count("report") == 5


def test_a_wrong_line_is_an_error() -> None:
    assert read_pairs("# comment\n\nfit a 1 2 # b\n") == [Pair("fit", "a", "1", "2")]
    for line in ("fit a 1", "other a 1 2"):
        with pytest.raises(ValueError, match=line):
            read_pairs(line)


def test_missing_releases_are_downloaded(tmp_path: Path) -> None:
    asked = []

    def install(requirement: str, target: Path) -> bool:
        asked.append(requirement)
        target.mkdir(parents=True)
        return requirement != "b==2"

    pairs = [Pair("fit", "a", "1", "2"), Pair("report", "b", "1", "2")]
    (tmp_path / "fit/a/old").mkdir(parents=True)
    assert download(pairs, tmp_path, install) == ["b==2"]
    assert asked == ["a==2", "b==1", "b==2"]
    assert not (tmp_path / "report/b/new").exists()
    assert [pair.package for pair in releases.find_pairs(tmp_path / "fit")] == ["a"]
    assert releases.find_pairs(tmp_path / "report") == []


def test_no_code_of_a_release_runs() -> None:
    options = releases.install_command("a==1", Path("x"))
    assert options[0] == sys.executable
    assert {"--no-deps", "--no-compile", "--only-binary", "--target"} <= set(options)


def pair_in(folder: Path, name: str) -> PairFolders:
    for version, text in (("old", OLD), ("new", NEW)):
        (folder / name / version).mkdir(parents=True)
        (folder / name / version / "a.py").write_text(text)
        (folder / name / version / "b.js").write_text("let x = 1\n")
    return PairFolders(name, folder / name / "old", folder / name / "new")


def test_holes_are_spread_over_samples_and_packages(tmp_path: Path) -> None:
    chosen = [choose_holes(pair_in(tmp_path, n), 2, 0, tmp_path / "s") for n in ("p", "q")]
    holes = [hole for package in chosen for hole in package.holes]
    assert sorted(hole.sample for hole in holes) == ["added"] * 4 + ["random"] * 4
    assert len({hole.name for hole in holes}) == 8
    assert {hole.language for hole in holes} == {"python"}
    assert shares(7, 3) == [3, 2, 2]


ROW = Row(
    package="p",
    variant="off",
    sample="added",
    name="h",
    middle="x",
    text="x",
    exact=True,
    parses=True,
    confidence=0.75,
    first=True,
    duplicated=False,
    milliseconds=10.0,
    timed=True,
    steps=3,
    tokens=4,
    drafted=2,
    accepted=1,
)


def test_the_figures_of_a_variant() -> None:
    wrong = replace(ROW, exact=False, first=False, parses=False, duplicated=True, confidence=0.75)
    none = replace(wrong, text="", parses=None, duplicated=False, steps=1, tokens=0)
    untimed = replace(ROW, milliseconds=99.0, timed=False)
    summary = summarize([ROW, wrong, none, untimed])
    assert (summary.holes, summary.exact, summary.shown) == (4, 0.5, 0.75)
    assert summary.exact_error == 0.25
    assert summary.parses == pytest.approx(2 / 3)
    assert summary.calibration == pytest.approx(0.75 - 2 / 3)
    assert summary.duplicated == 1
    assert summary.steps_per_token == pytest.approx(10 / 12)
    assert summary.decoding_per_token == pytest.approx(6 / 12)
    assert summary.p95_ms == 10.0
    assert math.isnan(summarize([untimed]).p50_ms)


def test_variants_are_compared_on_the_same_holes() -> None:
    first = [replace(ROW, name=str(i), exact=i < 2) for i in range(10)]
    second = [replace(ROW, name=str(i), exact=1 <= i < 7) for i in range(11)]
    comparison = compare(first, second)
    assert (comparison.holes, comparison.gained, comparison.lost) == (10, 5, 1)
    assert comparison.difference == pytest.approx(0.4)
    assert comparison.error == pytest.approx(math.sqrt((0.6 - 0.16) / 10))
    assert comparison.p_value == pytest.approx(2 * 7 / 64)
    assert compare(first, first).p_value == 1.0


def test_variants_have_the_uses_that_they_name() -> None:
    assert not VARIANTS["off"].project_memory
    assert VARIANTS["on"] == FimSettings()
    for name in ("drafts", "choice"):
        assert not VARIANTS[name].memory_mixing
    assert {name for name, each in VARIANTS.items() if each.memory_override == "always"} == {
        "choice",
        "both",
    }


def test_the_command_measures_and_continues(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair_in(tmp_path / "pairs", "p")
    out, report = tmp_path / "out.jsonl", tmp_path / "report.json"
    for _ in range(2):
        command.main(tmp_path / "pairs", 2, 0, "demo", None, out, report)
    rows = [Row(**json.loads(line)) for line in out.read_text().splitlines()]
    assert len(rows) == 8
    assert all(row.steps > 0 and row.tokens > 0 for row in rows)
    assert sum(row.timed for row in rows) == 2  # the first hole of each sample waits for the scan
    figures = json.loads(report.read_text())
    assert [(each["lines"], each["memory"]) for each in figures["figures"]] == [
        ("random", "off"),
        ("random", "on"),
        ("added", "off"),
        ("added", "on"),
    ]
    assert [(each["lines"], each["memory"]) for each in figures["comparisons"]] == [
        ("random", "on"),
        ("added", "on"),
    ]
    assert "McNemar" in capsys.readouterr().out
    with pytest.raises(typer.BadParameter):
        command.main(tmp_path, 2, 0, "demo", None, None, None)
    with pytest.raises(typer.BadParameter, match="no settings other"):
        command.main(tmp_path / "pairs", 2, 0, "demo", ["off", "other"], None, None)
