"""Measurements are written as soon as they are known, and read also after an interruption."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu.failure_report import MAX_TEXT
from benchmarks.gpu.results import FILE_VARIABLE, read_results, record

ROOT = Path(__file__).parents[3]


def test_a_measurement_is_appended_and_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "results.jsonl"
    monkeypatch.setenv(FILE_VARIABLE, str(file))
    expected = [{"name": "decode", "ms": 1.5, "dtype": "int8"}, {"name": "größe"}]
    record("decode", ms=1.5, dtype="int8")
    assert list(read_results(file)) == expected[:1]
    record("größe")
    assert list(read_results(file)) == expected
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == expected


def test_without_a_file_a_measurement_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(FILE_VARIABLE, raising=False)
    record("decode", ms=1)
    assert json.loads(capsys.readouterr().out) == {"name": "decode", "ms": 1}


def test_a_line_that_was_cut_off_does_not_hide_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "results.jsonl"
    file.write_text('{"name": "decode", "ms"', encoding="utf-8")
    monkeypatch.setenv(FILE_VARIABLE, str(file))
    record("prefill", ms=2.5)
    record("reuse", ms=3.5)
    assert list(read_results(file)) == [
        {"name": "prefill", "ms": 2.5},
        {"name": "reuse", "ms": 3.5},
    ]


def test_a_line_that_was_cut_off_is_skipped(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    file.write_text('{"name": "a", "ms": 1}\n{"name": "b"}\n{"name": "c", "m', encoding="utf-8")
    assert [result["name"] for result in read_results(file)] == ["a", "b"]
    file.write_text('{"name": "a"}\n{"na\n{"name": "b"}\n', encoding="utf-8")
    assert [result["name"] for result in read_results(file)] == ["a", "b"]
    file.write_text("", encoding="utf-8")
    assert list(read_results(file)) == []


TESTS = """
import os
from benchmarks.gpu.results import FILE_VARIABLE, read_results
from pathlib import Path

def test_first():
    raise ValueError("x" * 5000 + " and the end")

def test_second():
    names = [result["name"] for result in read_results(Path(os.environ[FILE_VARIABLE]))]
    assert names == ["failed test"]

def test_third(absent_fixture):
    pass
"""


def test_a_failed_test_is_recorded_immediately(tmp_path: Path) -> None:
    results, tests = tmp_path / "results.jsonl", tmp_path / "test_three.py"
    tests.write_text(TESTS, encoding="utf-8")
    options = ["-p", "benchmarks.gpu.failure_report", "-p", "no:cacheprovider", "-c", os.devnull]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, f"--rootdir={tmp_path}", tests],
        env={**os.environ, FILE_VARIABLE: str(results)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    first, error, counts = read_results(results)
    assert first["test"].endswith("test_three.py::test_first")
    assert first["when"] == "call"
    assert len(first["text"]) == MAX_TEXT
    assert "x and the end" in first["text"]
    assert error["test"].endswith("::test_third")
    assert error["when"] == "setup"
    assert "absent_fixture" in error["text"]
    assert counts == {"name": "tests", "failed": 1, "passed": 1, "error": 1}
