"""The functions of `benchmarks.written_tests` are complete, and the measurement of them works."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.written_tests.measure import Measurement, measure, measure_all
from benchmarks.written_tests.project import ECOSYSTEMS, Project, load_projects, read_project
from benchmarks.written_tests.report import summaries, summarize
from benchmarks.written_tests.runners import TestRun, run_tests
from chat.asker import Asker
from chat.tasks.dialects.base import Subject
from chat.tasks.dialects.registry import find_convention
from chat.tasks.target import WorkspaceFiles
from engine.api import GenerationRequest
from engine.scripted import ScriptedEngine
from sandbox.sandbox import isolation_problem
from syntax.grammars import count_errors
from tests.chat.tasks.test_write_tests import find_or_skip
from tests.conftest import OPTIONAL
from tests.lsp_server.cli.test_engine_url import other_server
from tests.remote_server import write_tokenizer

ROOT = Path(__file__).parents[2]
NODE_MODULES = ROOT / "editors" / "vscode" / "node_modules"
PROJECTS = load_projects()
COUNTS = {
    ("python", "pytest"): 20,
    ("python", "unittest"): 6,
    ("javascript", "node"): 10,
    ("typescript", "vitest"): 6,
    ("typescript", "jest"): 2,
    ("go", "go"): 6,
    ("rust", "cargo"): 6,
    ("java", "junit5"): 4,
}
TOPICS = set(
    """numbers, strings, lists, dicts, sorting, parsing, recursion, exceptions, floats, printing,
    files, async, generators, classes, methods, annotated, unicode, dates, none, fixture,
    regular expressions, injected dependency, early returns, nested loops,
    realistic length""".replace("\n    ", " ").split(", ")
)
LANGUAGES = {
    ".py": "python",
    ".js": "javascript",
    ".ts": "typescript",
    ".go": "go",
    ".rs": "rust",
    ".java": "java",
}

GOOD = "():\n    assert clamp(5, 0, 3) == 3\n    assert clamp(-1, 0, 3) == 0\n```\n"
WRONG = ' moves", () => {\n  assert.equal(roundTo(1.25, 1), 7);\n});\n```\n'
NOTHING = "I cannot do that.\n```\n"

of_each = pytest.mark.parametrize("project", PROJECTS, ids=lambda project: project.name)


def named(name: str) -> Project:
    return load_projects([name])[0]


def require_sandbox() -> None:
    if (problem := isolation_problem()) is not None:
        pytest.skip(f"{OPTIONAL}{problem}")


def engine_for(answers: dict[str, str]) -> ScriptedEngine:
    """Return an engine whose answer depends on the function that the prompt names."""

    def script(request: GenerationRequest) -> str:
        prompt = engine.model_tokenizer.decode(request.prompt)
        return next(answer for name, answer in answers.items() if f"`{name}`" in prompt)

    engine = ScriptedEngine(script)
    return engine


def passes(project: Project, folder: Path) -> TestRun:
    return TestRun("passed", 1)


def test_there_are_sixty_functions_in_six_ecosystems() -> None:
    assert len(PROJECTS) == 60
    assert len({project.name for project in PROJECTS}) == 60
    assert Counter((each.ecosystem, each.framework) for each in PROJECTS) == COUNTS
    assert {project.ecosystem for project in PROJECTS} == set(ECOSYSTEMS)


def test_every_topic_occurs_and_only_these() -> None:
    assert {topic for project in PROJECTS for topic in project.topics} == TOPICS


def test_some_functions_are_long_and_some_projects_have_tests_before() -> None:
    lengths = [
        len(project.text.split("\n"))
        for project in PROJECTS
        if "realistic length" in project.topics
    ]
    assert len(lengths) >= 2
    assert all(30 <= length <= 65 for length in lengths)
    assert sum(project.test_file in project.files for project in PROJECTS) >= 10
    assert {name for project in PROJECTS for name in project.files} >= {"tests/conftest.py"}


@of_each
def test_a_project_has_its_symbol_and_its_convention(project: Project, tmp_path: Path) -> None:
    target = project.materialize(tmp_path)
    for name, text in project.files.items():
        assert (tmp_path / name).read_text(encoding="utf-8") == text
        if (language := LANGUAGES.get(Path(name).suffix)) is not None:
            assert count_errors(text, language) == 0, name
    symbol = target.symbol()
    assert ".".join((*symbol.parents, symbol.name)) == project.symbol
    assert target.text[target.start :].startswith(symbol.name)
    subject = Subject(symbol, target.file(), target.text, target.language)
    files = WorkspaceFiles(tmp_path, boundary=tmp_path)
    convention = find_convention(subject, files)
    assert convention.framework == project.framework
    assert convention.test_file.relative_to(tmp_path) == Path(project.test_file)


@pytest.mark.parametrize(
    "project",
    [project for project in PROJECTS if project.ecosystem == "python"],
    ids=lambda project: project.name,
)
def test_python_sources_can_be_imported(project: Project, tmp_path: Path) -> None:
    project.materialize(tmp_path)
    program = "import runpy, sys\nfor file in sys.argv[1:]: runpy.run_path(file)\n"
    files = [name for name in project.files if name.endswith(".py")]
    environment = {"PYTHONPATH": f"{tmp_path}:{tmp_path / 'src'}", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-W", "error", "-c", program, *files]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_javascript_sources_are_modules_that_node_accepts(tmp_path: Path) -> None:
    node = find_or_skip("node")
    for project in load_projects(ecosystems=["javascript"]):
        folder = tmp_path / project.name
        project.materialize(folder)
        for name in (name for name in project.files if name.endswith(".js")):
            done = subprocess.run([node, "--check", folder / name], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "test_file", "num_tests"),
    [
        ("inventory_reserve", "tests/test_inventory.py", 2),
        ("stack_pop", "tests/test_stack.py", 2),
        ("lruCacheGet", "src/cache.test.js", 1),
        ("parsePrice", "tests/prices/format.test.ts", 1),
        ("unique", "src/__tests__/last.test.ts", 1),
        ("counterTop", "counter_test.go", 1),
        ("parse_color", "src/color.rs", 1),
        ("mode", "src/test/java/com/example/stats/MeanTest.java", 1),
    ],
)
def test_the_own_runner_of_a_project_runs_its_tests(
    name: str, test_file: str, num_tests: int, tmp_path: Path
) -> None:
    project = replace(named(name), test_file=test_file)
    project.materialize(tmp_path)
    run = run_tests(project, tmp_path, NODE_MODULES.resolve() if NODE_MODULES.exists() else None)
    if run.outcome == "not run":
        pytest.skip(f"{OPTIONAL}{run.detail}")
    assert run == TestRun("passed", num_tests)


def test_a_run_changes_nothing(tmp_path: Path) -> None:
    require_sandbox()
    find_or_skip("node")
    project = named("roundTo")
    project.materialize(tmp_path)
    test = tmp_path / project.test_file
    test.write_text("import { writeFileSync } from 'node:fs';\nwriteFileSync('new.txt', 'x');\n")
    before = sorted(tmp_path.rglob("*"))
    assert run_tests(project, tmp_path).outcome == "passed"
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("tests", "num_passed"),
    [
        ("import pytest\n\n\n@pytest.mark.skip\ndef test_skipped():\n    assert True\n", 0),
        ("def test_good():\n    assert True\n\n\ndef test_bad():\n    assert False\n", 1),
        ("def helper():\n    pass\n", 0),
    ],
)
def test_a_run_passes_only_if_there_are_tests_and_all_pass(
    tests: str, num_passed: int, tmp_path: Path
) -> None:
    require_sandbox()
    project = replace(named("clamp"), test_file="test_file.py")
    project.materialize(tmp_path)
    (tmp_path / "test_file.py").write_text(tests)
    run = run_tests(project, tmp_path)
    assert (run.outcome, run.num_passed) == ("failed", num_passed)


def test_a_framework_without_a_toolchain_is_not_run_and_the_reason_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    run = run_tests(named("reverse"), tmp_path)
    assert run == TestRun("not run", detail="go is not installed")
    assert run_tests(named("retry"), tmp_path, tmp_path).outcome == "not run"


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


def test_names_that_do_not_exist_and_incomplete_files_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="There is no function clmp, x"):
        load_projects(["clmp", "clamp", "x"])
    assert [project.name for project in load_projects(ecosystems=["java"])] == [
        project.name for project in PROJECTS if project.ecosystem == "java"
    ]
    file = tmp_path / "half.txtar"
    file.write_text("framework: pytest\nsource: a.py\n\n-- a.py --\n")
    with pytest.raises(ValueError, match="the line 'symbol' is missing"):
        read_project(file)


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
    assert "1 of 2 (50%)" in done.stdout
    assert "No test: median" in done.stdout
    content = json.loads(out.read_text(encoding="utf-8"))
    assert content["model"] == "writer"
    assert content["functions"][0]["run"]["outcome"] == "passed"
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
