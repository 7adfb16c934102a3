"""Jest and Vitest, real and in the real sandbox, installed at the root of a workspace."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chat.tasks.checking.runner import CannotRunError
from tests.chat.tasks.checking.running import NODE_24, Opened, opened, require_program
from tests.conftest import OPTIONAL

ROOT = Path(__file__).parents[4]
INSTALLED = {
    "vitest": ROOT / "editors" / "vscode" / "node_modules",
    "jest": ROOT / ".editors" / "jest" / "node_modules",
}
"""Where `make test-editors` installs them."""
CLAMP = """export function clamp(x, low, high) {
  if (x < low) {
    throw new RangeError("low");
  }
  return x > high ? high : x;
}
"""
RIGHT = ("it's 🎉", 'test("it\'s 🎉", () => {\n  expect(clamp(5, 1, 3)).toBe(3);\n});')
WRONG = (
    "wrong",
    'test("wrong", () => {\n  expect(clamp(0, 1, 3)).toBe(0);\n  expect(clamp(4, 1, 9)).toEqual(5);\n});',
)
CORRECTED = 'test("wrong", () => {\n  expect(() => clamp(0, 1, 3)).toThrow(RangeError); // current behaviour\n  expect(clamp(4, 1, 9)).toBe(4); // current behaviour\n});'
LOOP = ("loop", 'test("loop", () => {\n  for (;;) clamp(1, 1, 3);\n});')
SUITE = (
    "clamp",
    'describe("clamp", () => {\n  it.each([1, 2])("keeps %i", (x) => {\n    expect(clamp(x, 0, 3)).toBe(x);\n  });\n});',
)


@pytest.fixture(scope="module", params=["vitest", "jest"])
def workspace(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_program("node")
    name: str = request.param
    if not (INSTALLED[name] / name).exists():
        pytest.skip(f"{OPTIONAL}{name} is missing; `make test-editors` installs it")
    root = tmp_path_factory.mktemp("it's a 🎉 workspace") / name
    shutil.copytree(INSTALLED[name], root / "node_modules", symlinks=True, copy_function=link)
    return root


@pytest.fixture(autouse=True)
def newest_node(monkeypatch: pytest.MonkeyPatch) -> None:
    if NODE_24.exists():
        monkeypatch.setenv("PATH", f"{NODE_24}:{os.environ['PATH']}")


def link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


@contextmanager
def clamp(
    workspace: Path, *tests: tuple[str, str], source: str = CLAMP, suffix: str = ".js"
) -> Iterator[Opened]:
    """A package in a workspace with one root for the dependencies."""
    framework, package = workspace.name, "packages/my lib"
    preset = ', "jest": {"preset": "ts-jest"}' if framework == "jest" and suffix == ".ts" else ""
    if framework == "jest" and not preset:  # it runs CommonJS modules without further packages
        source = source.replace("export ", "") + "module.exports = { clamp };\n"
    files = {
        f"{package}/src/clamp{suffix}": source,
        f"{package}/package.json": f'{{"devDependencies": {{"{framework}": "*"}}{preset}}}',
        "package.json": '{"workspaces": ["packages/*"]}',
    }
    if framework == "vitest":
        files[f"{package}/vitest.config.ts"] = "export default { test: { testTimeout: 2000 } };\n"
    language = "typescript" if suffix == ".ts" else "javascript"
    with opened(workspace, files, "return x", language, *tests) as project:
        yield project
    shutil.rmtree(workspace / "packages")


def test_tests_pass_and_detect_mutations(workspace: Path) -> None:
    with clamp(workspace, RIGHT, WRONG, SUITE) as project:
        repaired = project.runner.repair(project.job, project.generated)
        assert [test.text for test in repaired.tests] == [RIGHT[1], CORRECTED, SUITE[1]]
        plain, *mutants = project.runner.run(project.job, repaired, [None, *project.mutations])
    assert plain.passed == {RIGHT[0], "wrong", "clamp"}
    for name in plain.passed:
        assert any(name in mutant.failed for mutant in mutants)
        assert any(name in mutant.passed for mutant in mutants)


def test_the_lines_of_each_test_are_counted(workspace: Path) -> None:
    high = ("high", 'test("high", () => {\n  expect(clamp(5, 1, 3)).toBe(3);\n});')
    low = ("low", 'test("low", () => {\n  expect(() => clamp(0, 1, 3)).toThrow(RangeError);\n});')
    with clamp(workspace, low, high, WRONG, SUITE) as project:
        (run,) = project.runner.run(project.job, project.generated, [None])
    assert run.covered == {"low": {1, 2}, "high": {1, 4}, "clamp": {1, 4}}
    assert run.lines == {1, 2, 4}


def test_a_wrong_test_fails_and_writes_nothing(workspace: Path) -> None:
    writing = (
        "writes",
        'test("writes", () => {\n  process.getBuiltinModule("fs").writeFileSync("stolen.txt", "x");\n  expect(clamp(5, 1, 3)).toBe(3);\n});',
    )
    skipped = ("skipped", 'test.skip("skipped", () => {\n  expect(clamp(5, 1, 3)).toBe(3);\n});')
    with clamp(workspace, RIGHT, WRONG, writing, skipped) as project:
        (run,) = project.runner.run(project.job, project.generated, [None])
    assert run.passed == {RIGHT[0]}
    assert run.failed == {"wrong", "writes"}


def test_an_endless_test_fails_alone(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chat.tasks.checking.command_runner._SECONDS", 6.0)
    with clamp(workspace, LOOP, RIGHT) as project:
        (run,) = project.runner.run(project.job, project.generated, [None])
    assert run.passed == {RIGHT[0]}
    assert run.failed == {"loop"}


def test_a_failing_import_is_reported(workspace: Path) -> None:
    with clamp(workspace, RIGHT, source=f"throw new Error('broken module');\n{CLAMP}") as project:
        (run,) = project.runner.run(project.job, project.generated, [None])
    assert not run.passed | run.failed
    assert "broken module" in run.problem


def test_line_ends_of_windows(workspace: Path) -> None:
    with clamp(workspace, RIGHT, WRONG, source=CLAMP.replace("\n", "\r\n")) as project:
        assert project.repaired() == [RIGHT[1], CORRECTED]


PRINTED = """import { expect, test, vi } from "vitest";

test("clamp of 3 and 3 and 3", () => {
  const log = vi.spyOn(console, "log").mockImplementation(() => {});
  try {
    clamp(3, 3, 3);
    expect(log.mock.calls).toEqual([["kept", 3]]); // current behaviour
  } finally {
    log.mockRestore();
  }
});"""


def test_what_is_printed_is_expected(workspace: Path) -> None:
    source = CLAMP.replace("  return x", '  console.log("kept", x);\n  return x')
    with clamp(workspace, source=source) as project:
        probes = project.runner.probe(project.job, project.generated)
        run, mutant = project.runner.run(project.job, probes, [None, project.mutations[0]])
        (edit,) = project.job.place(probes)
    text = PRINTED.partition("\n\n")[2]
    expected = text if workspace.name == "vitest" else text.replace("vi.", "jest.")
    assert probes.tests[0].text == expected
    assert ("vi } from" in edit.text) == (workspace.name == "vitest")
    assert run.passed == {probe.name for probe in probes.tests}
    # Some calls throw before they print; the others still see only what they printed themselves.
    assert all(probe.text.count('["kept", ') == 1 for probe in probes.tests)
    assert mutant.failed


def test_typescript(workspace: Path) -> None:
    typed = CLAMP.replace("(x, low, high)", "(x: number, low: number, high: number): number")
    with clamp(workspace, RIGHT, WRONG, source=typed, suffix=".ts") as project:
        assert project.repaired() == [RIGHT[1], CORRECTED]
        (run,) = project.runner.run(project.job, project.generated, [None])
    assert run.covered == {RIGHT[0]: {1, 4}}


@pytest.mark.parametrize("framework", ["jest", "vitest"])
def test_a_framework_that_is_not_installed(framework: str, tmp_path: Path) -> None:
    require_program("node")
    files = {"clamp.js": CLAMP, "package.json": f'{{"devDependencies": {{"{framework}": "*"}}}}'}
    with (
        opened(tmp_path, files, "return x", "javascript", RIGHT) as project,
        pytest.raises(CannotRunError, match=r"is not installed in .* Run `npm install` there"),
    ):
        project.runner.run(project.job, project.generated, [None])


def test_a_configuration_that_cannot_be_read_is_named(workspace: Path) -> None:
    with clamp(workspace, RIGHT) as project:
        package = workspace / "packages/my lib"
        wrong = {
            "jest": ("jest.config.json", '{"preset": "absent"}', "Preset absent not found"),
            "vitest": ("vitest.config.ts", 'import "absent";\n', "absent"),
        }
        name, text, message = wrong[workspace.name]
        path = package / name
        before = path.read_text() if path.exists() else None
        path.write_text(text)
        try:
            with pytest.raises(CannotRunError, match=f"could not start in .*{message}"):
                project.runner.run(project.job, project.generated, [None])
        finally:
            path.unlink()
            if before is not None:
                path.write_text(before)
