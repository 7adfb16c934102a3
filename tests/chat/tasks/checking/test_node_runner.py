"""Node's test runner, real and in the real sandbox."""

import os
import time
from pathlib import Path

import pytest

from chat.tasks.checking.javascript.commands import node_options
from tests.chat.tasks.checking.running import NODE_24, opened, require_program
from tests.conftest import OPTIONAL

CLAMP = """export function clamp(x, low, high) {
  if (x < low) {
    return low;
  }
  return x > high ? high : x;
}
"""
PACKAGE = '{"type": "module", "scripts": {"test": "node --test"}}'
RIGHT = ("it works", 'test("it works", () => {\n  assert.equal(clamp(5, 1, 3), 3);\n});')
WRONG = ("wrong", 'test("wrong", () => {\n  assert.equal(clamp(0, 1, 3), 0);\n});')


@pytest.fixture(autouse=True)
def needs_node() -> None:
    require_program("node")


def clamp(root: Path, *tests: tuple[str, str], name: str = "clamp.js"):  # type: ignore[no-untyped-def]
    files = {name: CLAMP, "package.json": PACKAGE}
    return opened(root, files, "return low", "javascript", *tests)


def test_right_tests_pass_and_detect_mutations(tmp_path: Path) -> None:
    with clamp(tmp_path, RIGHT, WRONG) as project:
        plain, *mutants = project.runner.run(
            project.job, project.generated, [None, *project.mutations]
        )
    assert plain.passed == {"it works"}
    assert plain.failed == {"wrong"}
    assert any("it works" in mutant.failed for mutant in mutants)
    assert any("it works" in mutant.passed for mutant in mutants)
    assert not any("wrong" in mutant.failed | mutant.passed for mutant in mutants)


def test_a_wrong_expected_value_is_corrected_and_marked(tmp_path: Path) -> None:
    with clamp(tmp_path, RIGHT, WRONG) as project:
        repaired = project.repaired()
    assert repaired == [
        RIGHT[1],
        WRONG[1].replace("3), 0);", "3), 1); // current behaviour"),
    ]


@pytest.mark.parametrize(
    "title",
    ["it's 🎉 é", 'a \\"quoted\\" one', "$& (.*) [x] \\\\", "50% %s", "a > b"],
)
def test_any_title_and_path(title: str, tmp_path: Path) -> None:
    root = tmp_path / 'it\'s a 🎉 "project" #1 %20'
    test = (title, RIGHT[1].replace("it works", title))
    suite = (
        "suite",
        f'describe("suite", () => {{\n  it("{title}", () => {{\n    assert.equal(clamp(1, 2, 3), 2);\n  }});\n}});',
    )
    with clamp(root, test, suite, name="my lib 🎉.js") as project:
        (run,) = project.runner.run(project.job, project.generated, [None])
    assert run.passed == {title, "suite"}


def test_suites_pass_if_all_their_tests_pass(tmp_path: Path) -> None:
    body = "() => {\n    assert.equal(clamp(1, 2, 3), %s);\n  }"
    tests = [
        ("good", 'describe("good", () => {\n  it("a", ' + body % 2 + ");\n});"),
        (
            "bad",
            'describe("bad", () => {\n  it("a", '
            + body % 2
            + ');\n  it("b", '
            + body % 3
            + ");\n});",
        ),
        ("none", 'describe("none", () => {\n  it.skip("a", ' + body % 2 + ");\n});"),
        ("skipped", 'test.skip("skipped", ' + body % 2 + ");"),
        ("todo", 'test.todo("todo", ' + body % 3 + ");"),
    ]
    with clamp(tmp_path, *tests) as project:
        (run,) = project.runner.run(project.job, project.generated, [None])
    assert run.passed == {"good"}
    assert "bad" in run.failed
    assert "skipped" not in run.passed | {"none", "todo"} & run.passed


def test_a_failing_import_is_reported(tmp_path: Path) -> None:
    files = {"clamp.js": CLAMP, "package.json": PACKAGE}
    files["clamp.js"] += 'import { nothing } from "no-such-package";\n'
    with opened(tmp_path, files, "return low", "javascript", RIGHT) as project:
        first, second = project.runner.run(
            project.job, project.generated, [None, project.mutations[0]]
        )
    assert not first.passed | first.failed | second.passed | second.failed
    assert "no-such-package" in first.problem


LOOP = ("loop", 'test("loop", () => {\n  for (;;) clamp(1, 2, 3);\n});')
ASYNC_LOOP = (
    "timer",
    'test("timer", async () => {\n  await new Promise(() => setInterval(() => clamp(1, 2, 3), 10));\n});',
)


@pytest.mark.parametrize("loop", [LOOP, ASYNC_LOOP])
def test_an_endless_test_fails_and_the_others_pass(
    loop: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short_limit(monkeypatch)
    before = processes()
    with clamp(tmp_path, RIGHT, loop, WRONG) as project:
        start = time.monotonic()
        repaired = project.repaired()
        (run,) = project.runner.run(project.job, project.generated, [None])
    assert run.passed == {"it works"}
    assert run.failed == {loop[0], "wrong"}
    assert "current behaviour" in repaired[-1]
    assert time.monotonic() - start < 20
    assert processes() <= before


def test_a_mutant_that_does_not_end_is_detected(tmp_path: Path) -> None:
    source = "export function sum(n) {\n  let total = 0;\n  while (n > 0) {\n    total += n;\n    n -= 1;\n  }\n  return total;\n}\n"
    test = ("sums", 'test("sums", () => {\n  assert.equal(sum(3), 6);\n});')
    files = {"sum.js": source, "package.json": PACKAGE}
    with opened(tmp_path, files, "let total", "javascript", test) as project:
        endless = [each for each in project.mutations if "n -= 1" in source.split("\n")[each.line]]
        first, *others = project.runner.run(project.job, project.generated, [None, *endless])
    assert first.passed == {"sums"}
    assert endless
    assert all(other.failed == {"sums"} for other in others)


def test_a_test_cannot_write_into_the_project(tmp_path: Path) -> None:
    writing = 'test("writes", () => {\n  process.getBuiltinModule("fs").writeFileSync(%s, "x");\n  assert.equal(clamp(0, 1, 3), 1);\n});'
    tests = [
        ("a", writing.replace("writes", "a") % '"stolen.txt"'),
        ("b", writing.replace("writes", "b") % 'import.meta.dirname + "/clamp.js"'),
        ("c", writing.replace("writes", "c") % '"/private/x"'),
    ]
    with clamp(tmp_path, *tests) as project:
        (run,) = project.runner.run(project.job, project.generated, [None])
    assert run.passed == {"c"}
    assert run.failed == {"a", "b"}


def test_much_output_and_an_early_end_are_harmless(tmp_path: Path) -> None:
    loud = (
        "loud",
        'test("loud", () => {\n  for (let i = 0; i < 3000; i++) process.stdout.write("x".repeat(10000));\n  assert.equal(clamp(0, 1, 3), 1);\n});',
    )
    with clamp(tmp_path, loud) as project:
        (run,) = project.runner.run(project.job, project.generated, [None])
    assert run.passed == {"loud"}
    leaving = ("leaves", 'test("leaves", () => {\n  process.exit(clamp(0, 0, 3));\n});')
    with clamp(tmp_path, leaving) as project:
        (run,) = project.runner.run(project.job, project.generated, [None])
    assert not run.passed


def test_an_existing_file_with_other_line_ends_and_a_test_in_a_package(tmp_path: Path) -> None:
    files = {
        "packages/geo/src/clamp.js": CLAMP.replace("\n", "\r\n"),
        "package.json": '{"workspaces": ["packages/*"]}',
        "packages/geo/package.json": PACKAGE,
        "packages/geo/names.txt": "here",
        "packages/geo/src/clamp.test.js": 'import test from "node:test";\r\nimport assert from '
        '"node:assert/strict";\r\n\r\ntest("old", () => {\r\n  assert.ok(true);\r\n});\r\n',
    }
    test = (
        "new",
        'test("new", () => {\n  process.getBuiltinModule("fs").readFileSync("names.txt");\n  assert.equal(clamp(0, 1, 3), 7);\n});',
    )
    with opened(tmp_path, files, "return low", "javascript", test) as project:
        repaired = project.runner.repair(project.job, project.generated)
        plain, *mutants = project.runner.run(project.job, repaired, [None, *project.mutations])
    assert "3), 1); // current behaviour" in repaired.tests[0].text
    assert plain.passed == {"new"}
    assert any(mutant.failed == {"new"} for mutant in mutants)


def test_common_js(tmp_path: Path) -> None:
    files = {
        "clamp.js": CLAMP.replace("export ", "") + "module.exports = { clamp };\n",
        "package.json": "{}",
    }
    with opened(tmp_path, files, "return low", "javascript", RIGHT, WRONG) as project:
        repaired = project.runner.repair(project.job, project.generated)
        (run,) = project.runner.run(project.job, repaired, [None])
    assert run.passed == {"it works", "wrong"}


def test_typescript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not NODE_24.exists():
        pytest.skip(f"{OPTIONAL}`make test-editors` installs a Node that runs TypeScript")
    monkeypatch.setenv("PATH", f"{NODE_24}:{os.environ['PATH']}")
    files = {
        "clamp.ts": CLAMP.replace("(x, low, high)", "(x: number, low: number, high: number)"),
        "package.json": PACKAGE,
    }
    typed = (
        "typed",
        'test("typed", () => {\n  const x: number = 0;\n  assert.equal(clamp(x, 1, 3), 9);\n});',
    )
    with opened(tmp_path, files, "return low", "typescript", typed) as project:
        repaired = project.runner.repair(project.job, project.generated)
        plain, *mutants = project.runner.run(project.job, repaired, [None, *project.mutations])
    assert plain.passed == {"typed"}
    assert any(mutant.failed == {"typed"} for mutant in mutants)


def test_options_that_load_modules_are_taken_from_the_script() -> None:
    scripts = {
        "build": "tsc",
        "test": "NODE_ENV=test node --import tsx --test --test-concurrency=4 -r ./setup.cjs "
        "--loader=ts-node/esm --experimental-strip-types 'test/**/*.ts'",
    }
    assert node_options(scripts, "node") == (
        "--import", "tsx", "-r", "./setup.cjs", "--loader=ts-node/esm", "--experimental-strip-types",
    )  # fmt: skip
    assert node_options({"test": "node --test 'unclosed"}, "node") == ()
    assert node_options({}, "node") == ()
    jest = {"test": "NODE_OPTIONS=--experimental-vm-modules jest"}
    assert node_options(jest, "jest") == ("--experimental-vm-modules",)
    assert node_options({"test": "jest"}, "jest") == ()


def short_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chat.tasks.checking.command_runner._SECONDS", 3.0)


def processes() -> set[int]:
    """The processes of Node that run."""
    numbers = set()
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes()
        except OSError:
            continue
        if b"--test-reporter=data" in command and b"clamp.test.js" in command:
            numbers.add(int(entry.parent.name))
    return numbers
