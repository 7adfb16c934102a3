"""Lines of functions in JavaScript and TypeScript that tests execute, in real runs of Node."""

import os
from pathlib import Path

import pytest

from chat.tasks.checking.checker import Checker
from chat.tasks.checking.javascript.lines import counted_source
from chat.tasks.dialects.base import Subject
from syntax.grammars import count_errors
from syntax.symbols import enclosing_symbol
from tests.chat.tasks.checking.running import NODE_24, opened, require_program
from tests.conftest import OPTIONAL

PACKAGE = '{"type": "module", "scripts": {"test": "node --test"}}'
CLAMP = """#!/usr/bin/env node
const seen = new Map(); // é🎉
/** Keep a number between two others. */
export function clamp(x, low, high) {
  "use strict"
  if (x < low) return low
  else if (x > high)
    return high;
  switch (x) {
    case 7: return seven(seen);
    default:
      x = x
  }
  const kept = [x].filter(Boolean)
    .map((each) => each * 1)
  return kept.length
    ? kept[0]
    : 0
  function seven(all) { return all.size + 7 }
}
"""


def counted(text: str, language: str = "javascript", cursor: str = "/**/") -> tuple[str, list[int]]:
    """The text of a subject with an empty comment that counts its lines, and these lines."""
    symbol = enclosing_symbol(text, language, text.index(cursor))
    assert symbol is not None
    written, lines = counted_source(Subject(symbol, Path("/p/a.js"), text, language))
    assert count_errors(written, language) == count_errors(text, language)
    return written.replace("globalThis.__starcoderLine__?.", "C"), sorted(lines)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("function f() {/**/ return 1 }", "function f() {/**/ C(0); return 1 }"),
        ("const f = (x) => /**/ x;", "const f = (x) => /**/ (C(0), x);"),
        ("const f = x => y => ({ x /**/ });", "const f = x => (C(0), y => (C(0), ({ x /**/ })));"),
        ("function f() {/**/ if (a) b();c() }", "function f() {/**/ C(0); if (a) { C(0); b(); }C(0); c() }"),
        ("function f() {/**/ do a(); while (b) }", "function f() {/**/ C(0); do { C(0); a(); } while (b) }"),
        ("function f() {/**/ a: for (;;) break a }", "function f() {/**/ C(0); a: for (;;) { C(0); break a } }"),
        ("function f() {/**/ 'use strict'; 'x'; g() }", "function f() {/**/ 'use strict'; 'x'; C(0); g() }"),
        ("function f() {/**/ return a\n? b : c }", "function f() {/**/ C(0); return a\n? (C(1), b) : (C(1), c) }"),
        ("function f() {/**/ if (a) return b\n|| c\n}", "function f() {/**/ C(0); if (a) { C(0); return b\n|| (C(1), c) }\n}"),
        ("function f() {/**/ return a ? b : c || d }", "function f() {/**/ C(0); return a ? b : c || d }"),
        ("function f() {/**/ return a\n+ b }", "function f() {/**/ C(0); return a\n+ b }"),
        ("function f() {/**/ g(h,\n(x) => x) }", "function f() {/**/ C(0); g(h,\n(C(1), (x) => (C(1), x))) }"),
        ("class A {\n f = (x) => x;\n static { g(); }\n m() {/**/ g() }\n}", "class A {\n f = (x) => x;\n static { g(); }\n m() {/**/ C(3); g() }\n}"),
        ("class A { /**/\n f = (x) => x;\n static { g(); }\n m() { g() }\n}", "class A { /**/\n f = (x) => (C(1), x);\n static { g(); }\n m() { C(3); g() }\n}"),
    ],
)  # fmt: skip
def test_calls_are_put_before_what_is_executed(text: str, expected: str) -> None:
    for language in ("javascript", "typescript"):
        written, _ = counted(text, language)
        assert written == f"// @ts-nocheck\n{expected}"


def test_what_is_not_executed_has_no_line() -> None:
    text = "function f() {\n  /**/\n  function g() {\n  }\n  ;\n  {\n    h();\n  }\n}\nh();\n"
    assert counted(text)[1] == [6]
    typed = "function f() {\n  type A = 1;\n  interface B {}\n  let x: A; /**/\n}"
    assert counted(typed, "typescript")[1] == [3]


def test_a_text_with_errors_stays_as_it_is_if_it_would_get_more() -> None:
    text = "function f( { /**/ return 1 }\nfunction g() {}\n"
    symbol = enclosing_symbol("function f() { /**/ }", "javascript", 16)
    assert symbol is not None
    written, _ = counted_source(Subject(symbol, Path("/p/a.js"), text, "javascript"))
    assert count_errors(written, "javascript") == count_errors(text, "javascript")


def asserting(*calls: str) -> list[tuple[str, str]]:
    return [(each, f'test("{each}", () => {{\n  assert.equal({each});\n}});') for each in calls]


TESTS = asserting(
    "clamp(1, 3, 9), 3", "clamp(99, 3, 9), 9", "clamp(7, 3, 9), 7", "clamp(5, 3, 9), 5"
)
COVERED = {
    "clamp(1, 3, 9), 3": {5},
    "clamp(99, 3, 9), 9": {5, 6, 7},
    "clamp(7, 3, 9), 7": {5, 6, 8, 9, 18},
    "clamp(5, 3, 9), 5": {5, 6, 8, 11, 13, 14, 15, 16},
}
LINES = {5, 6, 7, 8, 9, 11, 13, 14, 15, 16, 17, 18}


@pytest.mark.parametrize("variant", ["module", "common", "typescript", "line ends"])
def test_the_lines_of_each_test(
    variant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_program("node")
    name, language, text, package = "clamp.js", "javascript", CLAMP, PACKAGE
    if variant == "common":
        text, package = CLAMP.replace("export ", "") + "module.exports = { clamp };\n", "{}"
    elif variant == "line ends":
        text = CLAMP.replace("\n", "\r\n")
    elif variant == "typescript":
        if not NODE_24.exists():
            pytest.skip(f"{OPTIONAL}`make test-editors` installs a Node that runs TypeScript")
        monkeypatch.setenv("PATH", f"{NODE_24}:{os.environ['PATH']}")
        name, language = "clamp.ts", "typescript"
        text = CLAMP.replace("(x, low, high", "(x: number, low: number, high: number")
    wrong = asserting("clamp(5, 3, 9), 6")
    files = {name: text, "package.json": package}
    with opened(tmp_path, files, "kept =", language, *TESTS, *wrong) as project:
        run, mutant = project.runner.run(
            project.job, project.generated, [None, project.mutations[0]]
        )
    assert run.passed == set(COVERED)
    assert run.covered == COVERED
    assert run.lines == LINES
    assert not mutant.covered


def test_suites_asynchronous_tests_and_code_that_is_not_called(tmp_path: Path) -> None:
    require_program("node")
    text = "export class Box {\n  async open(key) {\n    await null;\n    return key;\n  }\n  close() {\n    return 1;\n  }\n}\nawait new Box().open();\n"
    suite = (
        "box",
        'describe("box", () => {\n  it("opens", async () => {\n    assert.equal(await new Box().open(1), 1);\n  });\n  it("opens again", async () => assert.equal(await new Box().open(2), 2));\n});',
    )
    other = ("other", 'test("other", () => {\n  assert.equal(typeof Box, "function");\n});')
    files = {"box.js": text, "package.json": PACKAGE}
    with opened(tmp_path, files, "class", "javascript", suite, other) as project:
        (run,) = project.runner.run(project.job, project.generated, [None])
    assert run.passed == {"box", "other"}
    assert run.covered == {"box": {2, 3}}
    assert run.lines == {2, 3, 6}


def test_the_summary_counts_the_lines_of_all_chosen_tests(tmp_path: Path) -> None:
    require_program("node")
    files = {"clamp.js": CLAMP, "package.json": PACKAGE}
    tests = [each for each in TESTS if each[0] != "clamp(99, 3, 9), 9"]
    with opened(tmp_path, files, "kept =", "javascript", *tests) as project:
        checker = Checker(project.runner, project.job, lambda stage: None)
        checker.add(project.generated)
        checked = checker.result()
    assert checked is not None
    assert len(checked.tests.tests) == 3
    assert (checked.summary.num_covered, checked.summary.num_lines) == (10, 12)
    assert ", cover 10 of 12 lines." in checked.summary.sentence
