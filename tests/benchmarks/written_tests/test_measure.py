"""The product writes tests for functions, and what happened is reported."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.written_tests.measure import Measurement, measure, measure_all
from benchmarks.written_tests.project import Project, load_projects
from benchmarks.written_tests.report import summaries, summarize
from benchmarks.written_tests.runners import TestRun, run_tests
from chat.asker import Asker
from engine.api import GenerationRequest
from engine.scripted import ScriptedEngine
from tests.benchmarks.written_tests.test_runners import named, require_sandbox
from tests.chat.tasks.test_write_tests import find_or_skip
from tests.lsp_server.cli.test_engine_url import other_server
from tests.remote_server import write_tokenizer

ROOT = Path(__file__).parents[3]
GOOD = "():\n    assert clamp(5, 0, 3) == 3\n    assert clamp(-1, 0, 3) == 0\n```\n"
WRONG = ' moves", () => {\n  assert.equal(roundTo(1.25, 1), 7);\n});\n```\n'
NOTHING = "I cannot do that.\n```\n"


def engine_for(answers: dict[str, str]) -> ScriptedEngine:
    """Return an engine whose answer depends on the function that the prompt names."""

    def script(request: GenerationRequest) -> str:
        prompt = engine.model_tokenizer.decode(request.prompt)
        return next(answer for name, answer in answers.items() if f"`{name}`" in prompt)

    engine = ScriptedEngine(script)
    return engine


def passes(project: Project, folder: Path) -> TestRun:
    return TestRun("passed", 1)


async def test_good_wrong_and_missing_tests_are_distinguished() -> None:
    require_sandbox()
    find_or_skip("node")
    engine = engine_for({"clamp": GOOD, "roundTo": WRONG, "median": NOTHING})
    projects = load_projects(["clamp", "median", "roundTo"])
    good, nothing, wrong = [each async for each in measure_all(projects, Asker(engine), run_tests)]
    assert (good.name, nothing.name, wrong.name) == ("clamp", "median", "roundTo")
    assert good.run == TestRun("passed", 1)
    assert "clamp(-1, 0, 3)" in good.tests
    assert good.title.endswith("test_limits.py (pytest)")
    assert nothing.run is None
    assert not nothing.has_test
    assert "no test of median" in nothing.problem
    assert wrong.run is not None
    assert wrong.run.outcome == "failed"
    assert "Expected values to be strictly equal" in wrong.run.detail
    row = summarize("all", [good, nothing, wrong])
    assert (row.num_functions, row.num_with_test, row.num_run, row.num_passing) == (3, 2, 2, 1)


async def test_tests_are_added_to_those_that_the_project_has(tmp_path: Path) -> None:
    project = named("merge_intervals")
    answer = "():\n    assert merge_intervals([(2, 3), (1, 2)]) == [(1, 3)]\n```\n"
    engine = engine_for({"merge_intervals": answer})
    measurement = await measure(project, Asker(engine), passes, tmp_path)
    assert measurement.has_test
    text = (tmp_path / project.test_file).read_text()
    assert "def test_total_length(" in text
    assert "== [(1, 3)]" in text
    assert text.count("import pytest") == 1


async def test_tests_in_another_file_than_the_runner_expects_fail(tmp_path: Path) -> None:
    project = replace(named("clamp"), test_file="tests/test_other.py")
    measurement = await measure(project, Asker(engine_for({"clamp": GOOD})), passes, tmp_path)
    assert measurement.run is not None
    assert measurement.run.outcome == "failed"
    assert "test_limits.py" in measurement.run.detail


def a_measurement(seconds: float, outcome: str = "", ecosystem: str = "go") -> Measurement:
    run = TestRun(outcome) if outcome else None  # type: ignore[arg-type]
    return Measurement("f", ecosystem, "x", ("lists",), seconds, run=run)


def test_the_figures_count_only_what_was_run() -> None:
    group = [a_measurement(float(second)) for second in range(1, 18)]
    group += [
        a_measurement(18, "passed"),
        a_measurement(19, "failed"),
        a_measurement(20, "not run"),
    ]
    row = summarize("go", group)
    assert (row.num_functions, row.num_with_test, row.num_run, row.num_passing) == (20, 3, 2, 1)
    assert row.median_s == 10.5
    assert row.p95_s == 19
    rows = summaries([*group, a_measurement(1, "passed", "rust")])
    assert [row.name for row in rows] == ["go, x", "rust, x", "all"]
    assert [row.num_functions for row in rows] == [20, 1, 21]


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "benchmarks.written_tests", *options]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150)

    return run


def test_the_program_measures_a_server_by_its_url(
    program: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    require_sandbox()
    out = tmp_path / "result.json"
    folder = write_tokenizer(tmp_path / "model")
    with other_server() as server:
        server.models = [{"id": "writer", "max_model_len": 4000}]
        server.text = GOOD
        options = ("--engine-url", server.url, "--tokenizer", str(folder), "--out", str(out))
        done = program(*options, "--only", "clamp", "--only", "median")
    assert done.returncode == 0, done.stderr
    assert "Tests written by writer" in done.stdout
    assert "2 of 2" in done.stdout
    content = json.loads(out.read_text(encoding="utf-8"))
    assert content["model"] == "writer"
    assert content["functions"][0]["run"]["outcome"] == "passed"
    assert content["functions"][0]["checked"]["num_detected"] > 0
    assert [row["name"] for row in content["summaries"]] == ["python, pytest", "all"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--only", "clmp"), "There is no function clmp"),
        (("--ecosystem", "perl"), "There is no ecosystem perl"),
        (("--engine-url", "http://127.0.0.1:9", "--only", "clamp"), "nothing listens"),
    ],
)
def test_the_program_refuses_what_it_cannot_measure(
    options: tuple[str, ...], words: str, program: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = program(*options)
    assert done.returncode != 0
    assert words in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr
