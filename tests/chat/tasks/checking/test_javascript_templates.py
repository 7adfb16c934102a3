"""Tests of functions in JavaScript that print or read files, in real runs of Node."""

import re
from pathlib import Path

import pytest

from chat.tasks.checking.javascript.probes import probe_tests
from chat.tasks.dialects.base import Subject
from syntax.symbols import enclosing_symbol
from tests.chat.tasks.checking.running import opened, require_program

PACKAGE = '{"type": "module", "scripts": {"test": "node --test"}}'
PRINTING = """import fs from "node:fs";
export %sfunction show(%s, count) {
  if (count < 0) throw new RangeError("negative");
  const shown = %s;
  for (let i = 0; i < count; i++) {
    console.log(shown.trim(), { i });
  }
}
"""


def calls(code: str) -> list[str]:
    """The calls of the probes of a function in TypeScript with an empty comment."""
    symbol = enclosing_symbol(code, "typescript", code.index("/**/"))
    assert symbol is not None
    probes = probe_tests([], Subject(symbol, Path("/p/a.ts"), code, "typescript"), "node").tests
    written = [re.search(r"equal\((.*), Symbol\(\)\);", probe.text) for probe in probes]
    return [match[1] for match in written if match]


def probes_of(root: Path, source: str) -> list[str]:
    """The texts of probes that pass in the real framework, with the imports of their file."""
    files = {"show.js": source, "package.json": PACKAGE}
    with opened(root, files, "const shown", "javascript") as project:
        probes = project.runner.probe(project.job, project.generated)
        run, mutant = project.runner.run(project.job, probes, [None, project.mutations[0]])
        (edit,) = project.job.place(probes)
    assert run.passed == {probe.name for probe in probes.tests}
    assert mutant.failed
    return [edit.text.partition("\n\n")[0], *(probe.text for probe in probes.tests)]


def test_what_is_printed_is_expected(tmp_path: Path) -> None:
    require_program("node")
    imports, first, *others = probes_of(tmp_path, PRINTING % ("", "text", "text"))
    assert "node:fs" not in imports
    assert first == (
        'test("show of a text and 3", (t) => {\n'
        '  const log = t.mock.method(console, "log", () => {});\n'
        '  show("Hello World", 3);\n'
        "  // current behaviour\n"
        "  assert.deepEqual(log.mock.calls.map((call) => call.arguments), "
        '[["Hello World", { i: 0 }], ["Hello World", { i: 1 }], ["Hello World", { i: 2 }]]);\n'
        "});"
    )
    assert not any("-2)" in text for text in others)  # that prints nothing, and throws


def test_what_asynchronous_functions_print_is_expected(tmp_path: Path) -> None:
    require_program("node")
    _, first, *_ = probes_of(tmp_path, PRINTING % ("async ", "text", "await text"))
    assert first.startswith('test("show of a text and 3", async (t) => {\n')
    assert '\n  await show("Hello World", 3);\n' in first
    assert '[["Hello World", { i: 0 }], ' in first


def test_functions_that_read_files_get_a_file(tmp_path: Path) -> None:
    require_program("node")
    source = (PRINTING % ("", "inputFile", 'fs.readFileSync(inputFile, "utf8")')).replace(
        "console.log(shown.trim(), { i });", "if (i > 1) return shown.length + count;"
    )
    imports, first, *others = probes_of(tmp_path, source)
    assert 'import fs from "node:fs";\nimport os from "node:os";\nimport path from' in imports
    assert first == (
        'test("show of a file and 3", () => {\n'
        '  const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), "test-")), "input.txt");\n'
        '  fs.writeFileSync(file, "first line\\nsecond line\\n");\n'
        "  assert.equal(show(file, 3), 26); // current behaviour\n"
        "});"
    )
    assert any("assert.throws(() => show(file, -2), RangeError);" in text for text in others)


@pytest.mark.parametrize(
    ("parameter", "is_file"),
    [
        ("file", True), ("path", True), ("filePath", True), ("config_path", True), ("filename", True),
        ("pathToConfig", True), ("file: string", True), ("path: PathLike", True), ("path: number", False),
        ("profile", False), ("filter", False), ("files", False), ("text", False), ("file: File", False),
    ],
)  # fmt: skip
def test_the_names_of_parameters_say_that_they_are_paths(parameter: str, is_file: bool) -> None:
    code = f"function f({parameter}) {{ /**/ return fs.statSync({parameter}); }}"
    written = calls(code)
    assert ("f(file)" in written[:1]) == is_file
    assert "f(file)" not in calls(code.replace("fs.", "os."))
