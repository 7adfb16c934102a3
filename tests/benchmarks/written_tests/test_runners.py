"""The tests of a project run with its own runner, in the sandbox."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.written_tests.project import Project, load_projects
from benchmarks.written_tests.runners import TestRun, run_tests
from sandbox.sandbox import isolation_problem
from tests.chat.tasks.test_write_tests import find_or_skip
from tests.conftest import OPTIONAL

ROOT = Path(__file__).parents[3]
NODE_MODULES = [
    ROOT / "editors" / "vscode" / "node_modules",
    ROOT / ".editors" / "jest" / "node_modules",
]


def named(name: str) -> Project:
    return load_projects([name])[0]


def require_sandbox() -> None:
    if (problem := isolation_problem()) is not None:
        pytest.skip(f"{OPTIONAL}{problem}")


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
    run = run_tests(project, tmp_path, [each.resolve() for each in NODE_MODULES])
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
    assert run_tests(named("retry"), tmp_path, [tmp_path]).outcome == "not run"
