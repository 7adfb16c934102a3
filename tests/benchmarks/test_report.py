"""The tables in the documents are those of the records, and a measurement makes such a record."""

from pathlib import Path

import pytest
import typer

from benchmarks.common import PEER_VARIABLE
from benchmarks.peers.comparison import Result
from benchmarks.report.__main__ import DOCUMENTS, MEASUREMENTS, SUMMARY, paths_of, tables_of
from benchmarks.report.records import ROOT, Measurement, Record, load, measure, save
from benchmarks.report.tables import NoPlaceError, begin, rendered, results_of, summary, written

MACHINE = {"cpu": "Fast One", "cores": 2, "gpu": None, "torch": "2.0", "llama.cpp": "0.3 AVX = 1"}
RESULT = {
    "runs": {
        "ours int4": [10.0, 11.0, 12.0],
        "ours int8": [300.0, 1500.0, 9000.0],
        "binding q4_0": [20.0, 20.0, 20.0],
        "llama-bench q4_0": [22.0, 22.0, 22.0],
        "binding q8_0": [3000.0, 3000.0, 3000.0],
    },
    "options": {"binding q4_0": "2 threads"},
    "peers": {
        "llama.cpp": {
            "ours int4": ["binding q4_0", "llama-bench q4_0"],
            "ours int8": ["binding q8_0"],
        }
    },
    "may_vary": False,
}
RECORD = Record(
    "2026-01-02", "python -m benchmarks.x --y", {"machine": MACHINE, "results": {"ms": RESULT}}
)


@pytest.mark.parametrize("document", [*DOCUMENTS, SUMMARY])
def test_the_documents_have_the_recorded_figures(document: str) -> None:
    records = {measurement.name: load(measurement.name) for measurement in MEASUREMENTS}
    text = (ROOT / document).read_text(encoding="utf-8")
    assert written(text, tables_of(document, records)) == text


def test_every_measurement_has_a_table() -> None:
    names = [name for of_document in DOCUMENTS.values() for name in of_document]
    assert sorted(names) == sorted(measurement.name for measurement in MEASUREMENTS)


def test_records_name_the_command_that_measures_now() -> None:
    for measurement in MEASUREMENTS:
        assert load(measurement.name).command == measurement.command


def test_a_table_shows_medians_spread_and_the_ratio_to_the_fastest_peer() -> None:
    assert rendered(RECORD).splitlines() == [
        "2026-01-02, 2 cores of an Fast One, torch 2.0, llama.cpp of llama-cpp-python 0.3. "
        "`python -m benchmarks.x --y`",
        "",
        "| ms | median | min to max | ours ÷ llama.cpp |",
        "|---|---|---|---|",
        "| ours int4 | 11.00 | 10.00 to 12.00 | 0.55 |",
        "| ours int8 | 1,500 | 300 to 9,000 | disturbed |",
        "| binding q4_0 | 20.00 | 20.00 to 20.00 |  |",
        "| llama-bench q4_0 | 22.00 | 22.00 to 22.00 |  |",
        "| binding q8_0 | 3,000 | 3,000 to 3,000 |  |",
    ]


def test_the_summary_has_ours_only() -> None:
    *_, row = summary({"x": RECORD}).splitlines()
    assert row == (
        "| ms: `python -m benchmarks.report --only x` |  | 1,500 (disturbed) | 11.0 (0.55) |"
    )


def test_runs_on_a_busy_machine_have_a_ratio() -> None:
    result = Result(**{**RESULT, "may_vary": True})
    assert result.ratio("ours int8", "llama.cpp") == 0.5


def test_only_the_place_of_a_table_changes() -> None:
    text = f"before\n{begin('a')}\nold\n<!-- end of figures -->\nafter\n{begin('b')}\n"
    expected = f"before\n{begin('a')}\n\nnew\n\n<!-- end of figures -->\nafter\n{begin('b')}\n"
    assert written(text, {"a": "new"}) == expected
    assert written(expected, {"a": "new"}) == expected


@pytest.mark.parametrize("text", ["no place", begin("a"), "<!-- end of figures -->"])
def test_a_missing_place_is_named(text: str) -> None:
    with pytest.raises(NoPlaceError, match="figures: a"):
        written(text, {"a": "new"})


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [
        ((None, Path("b"), Path("r"), Path("g")), "--llama"),
        ((Path("l"), None, Path("r"), Path("g")), "--bench"),
        ((Path("l"), Path("b"), None, Path("g")), "--real-model"),
        ((Path("l"), Path("b"), Path("r"), None), "--gguf"),
    ],
)
def test_a_missing_path_is_named_before_anything_runs(
    arguments: tuple[Path | None, ...], missing: str
) -> None:
    with pytest.raises(typer.BadParameter, match=missing):
        paths_of(MEASUREMENTS[-1], *arguments)


def test_a_measurement_runs_its_benchmark_and_keeps_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The demo model without peers, in the benchmark that does not wait for a quiet machine."""
    monkeypatch.delenv(PEER_VARIABLE, raising=False)
    arguments = ("--dtype", "float32", "--prompt", "8", "--new", "2", "--rounds", "1")
    measurement = Measurement("tiny", "benchmarks.busy_machine", (*arguments, "--per-core", "1"))
    save("tiny", measure(measurement), tmp_path)
    record = load("tiny", tmp_path)
    assert record.command.startswith("python -m benchmarks.busy_machine --dtype float32")
    (result,) = results_of(record).values()
    assert list(result.runs) == ["ours float32"]
    assert len(result.runs["ours float32"]) == 1
    assert record.machine["cores"]
