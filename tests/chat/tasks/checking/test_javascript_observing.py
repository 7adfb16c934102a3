"""Assertions in JavaScript: what they see in real tests, and how wrong ones are corrected."""

import re
from pathlib import Path

import pytest

from chat.tasks.checking.javascript.assertions import find_assertions
from chat.tasks.checking.javascript.observing import Observation, corrected_test, observed_test
from chat.tasks.checking.javascript.tests import marked_test
from syntax.grammars import count_errors
from tests.chat.tasks.checking.running import opened, require_program

GIVE = r"""export function give(kind, x) {
  class NotFound extends RangeError {}
  switch (kind) {
    case "same": return x;
    case "third": return x / 3;
    case "throw": throw new TypeError("no");
    case "own error": throw new NotFound("no");
    case "later": return Promise.resolve(x);
    case "fail": return Promise.reject(new RangeError("no"));
    case "undefined": return undefined;
    case "null": return null;
    case "object": return { a: 1, "b-c": [true, null, undefined, NaN, -0], d: { e: 'it\'s "é"\n🎉' } };
    case "class": return new NotFound("x");
    case "map": return new Map();
    case "function": return () => 1;
    case "holes": return [1, , 3];
    case "big": return 10n;
    case "iterator": return [1, 2][Symbol.iterator]();
    case "number": return calls++;
    case "loop": { const loop = {}; loop.loop = loop; return loop; }
  }
}
let calls = 0;
"""
PACKAGE = '{"type": "module", "scripts": {"test": "node --test"}}'
CORRECTIONS = [
    ('assert.equal(give("same", 1), 2);', 'assert.equal(give("same", 1), 1);'),
    ('assert.equal(2, give("same", 1));', 'assert.equal(give("same", 1), 1);'),
    ('assert.strictEqual(give("same", "é"), 2)', 'assert.strictEqual(give("same", "é"), "é");'),
    ('assert.equal(give("object"), 2);', 'assert.deepEqual(give("object"), { a: 1, "b-c": [true, null, undefined, NaN, -0], d: { e: "it\'s \\"é\\"\\n🎉" } });'),
    ('assert.deepStrictEqual(give("same", [1]), [2]);', 'assert.deepStrictEqual(give("same", [1]), [1]);'),
    ('assert.equal(give("third", 1), 0.3);', 'assert.ok(Math.abs(give("third", 1) - 0.333333) < 1e-5);'),
    ('assert.equal(give("third", 1.5), 0.3);', 'assert.equal(give("third", 1.5), 0.5);'),
    ('assert(give("undefined"));', 'assert.equal(give("undefined"), undefined);'),
    ('assert.ok(give("null"), "why");', 'assert.equal(give("null"), null);'),
    ('assert.equal(give("big"), 1);', 'assert.equal(give("big"), 10n);'),
    ('assert.equal(give("throw"), 1);', 'assert.throws(() => give("throw"), TypeError);'),
    ('assert.throws(() => give("throw"), RangeError);', 'assert.throws(() => give("throw"), TypeError);'),
    ('assert.throws(() => { give("same", 3); });', 'assert.equal(give("same", 3), 3);'),
    ('assert.throws(() => give("own error"), TypeError);', 'assert.throws(() => give("own error"), RangeError);'),
    ('assert.equal(give("later", 1), 2);', 'assert.equal(await give("later", 1), 1);'),
    ('assert.equal(await give("later", 1), 2);', 'assert.equal(await give("later", 1), 1);'),
    ('assert.equal(give("fail"), 2);', 'await assert.rejects(() => give("fail"), RangeError);'),
    ('assert.equal(await give("fail"), 2);', 'await assert.rejects(async () => await give("fail"), RangeError);'),
    ('await assert.rejects(give("fail"), TypeError);', 'await assert.rejects(() => give("fail"), RangeError);'),
    ('await assert.rejects(() => give("later", 4));', 'assert.equal(await give("later", 4), 4);'),
    ('assert.deepEqual(give("iterator"), [2]);', 'assert.deepEqual([...give("iterator")], [1, 2]);'),
]  # fmt: skip
RIGHT = [
    ('assert.equal(give("same", 1), 1);', None),
    ('assert.throws(() => give("throw"), TypeError);', None),
    ('assert.throws(() => give("throw"), /no/);', None),
    ('await assert.rejects(give("fail"), RangeError);', None),
    ('assert.equal(give("later", 1), 1);', 'assert.equal(await give("later", 1), 1);'),
    ('assert.deepEqual(give("iterator"), [1, 2]);', 'assert.deepEqual([...give("iterator")], [1, 2]);'),
    ('assert.notEqual(give("same", 1), 2);', None),
]  # fmt: skip
REMOVED = [
    'assert.equal(give("class"), 1);',
    'assert.equal(give("map"), 1);',
    'assert.equal(give("function"), 1);',
    'assert.deepEqual(give("holes"), 1);',
    'assert.deepEqual(give("loop"), 1);',
    'assert.equal(give("same", 1).x.y, 1);',
    'assert.equal(give("same", nothing), 1);',
    'for (let i = 0; i < 2; i++) assert.equal(give("same", i), 5);',
    'assert.equal(give("same", "x".repeat(300)), 1);',
]


@pytest.fixture(scope="module")
def repaired(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The texts of the tests above after one real run, by their first texts."""
    require_program("node")
    lines = [*(line for line, _ in (*CORRECTIONS, *RIGHT)), *REMOVED]
    tests = [(f"t{i}", in_test(f"t{i}", line)) for i, line in enumerate(lines)]
    files = {"give.js": GIVE, "package.json": PACKAGE}
    with opened(tmp_path_factory.mktemp("give"), files, "switch", "javascript", *tests) as project:
        corrected = project.runner.repair(project.job, project.generated)
        (run,) = project.runner.run(project.job, corrected, [None])
    assert run.passed == {test.name for test in corrected.tests}
    texts = {test.name: test.text for test in corrected.tests}
    return {line: texts.get(f"t{i}", "") for i, line in enumerate(lines)}


def in_test(title: str, line: str) -> str:
    wait = "async " if "await" in line else ""
    return f'test("{title}", {wait}() => {{\n  {line}\n}});'


@pytest.mark.parametrize(("line", "expected"), CORRECTIONS)
def test_a_wrong_expectation_is_corrected_and_marked(
    line: str, expected: str, repaired: dict[str, str]
) -> None:
    lines = repaired[line].split("\n")
    mark = "// current behaviour"
    assert lines[1:-1] in ([f"  {expected} {mark}"], [f"  {mark}", f"  {expected}"])
    assert ("async" in lines[0]) == ("await" in line or "await" in expected)


@pytest.mark.parametrize(("line", "expected"), RIGHT)
def test_a_right_expectation_stays(
    line: str, expected: str | None, repaired: dict[str, str]
) -> None:
    assert repaired[line].split("\n")[1:-1] == [f"  {expected or line}"]


@pytest.mark.parametrize("line", REMOVED)
def test_what_cannot_be_corrected_is_removed(line: str, repaired: dict[str, str]) -> None:
    assert repaired[line] == ""


def value(text: str, kind: str = "number", *, right: bool = False, call: str = "") -> Observation:
    return Observation(call, value=text, has_literal=True, kind=kind, right=right)


def raised(name: str, *, call: str = "", plausible: bool = True) -> Observation:
    return Observation(call, raised=name, plausible=plausible)


@pytest.mark.parametrize(
    ("line", "seen", "expected"),
    [
        ("expect(f(1)).toBe(2);", value("3"), "expect(f(1)).toBe(3);"),
        ("expect(f(1)).toBe(2);", value("null", "object"), "expect(f(1)).toBeNull();"),
        ("expect(f(1)).toBeTruthy();", value("undefined"), "expect(f(1)).toBeUndefined();"),
        ("expect(f(1)).toBeFalsy();", value("NaN"), "expect(f(1)).toBeNaN();"),
        ("expect(f(1)).not.toBe(3);", value("3"), "expect(f(1)).toBe(3);"),
        ("expect(f(1)).toBe(2);", value("[1]", "object"), "expect(f(1)).toEqual([1]);"),
        ("expect(f(1)).toEqual(2);", value("0.30000000000000004"), "expect(f(1)).toBeCloseTo(0.3, 0);"),
        ("expect(f(1)).toEqual(2);", value("1234.5678901"), "expect(f(1)).toBeCloseTo(1234.57, 1);"),
        ("expect(f(1)).toEqual(2);", value("1.2345678e-7"), "expect(f(1)).toBe(1.2345678e-7);"),
        ("expect(f(1)).toBe(2);", raised("TypeError"), "expect(() => f(1)).toThrow(TypeError);"),
        ("expect(f(1)).toBe(2);", raised("Error", call="await"), "await expect(f(1)).rejects.toThrow(Error);"),
        ("expect(() => f(1)).toThrow(Error);", value("3"), "expect(f(1)).toBe(3);"),
        ("expect(f).toThrow(Error);", value("3"), "expect(f()).toBe(3);"),
        ("await expect(f(1)).rejects.toThrow();", value("3", call="await"), "expect(await f(1)).toBe(3);"),
        ("await expect(f(1)).resolves.toBe(2);", value("3", call="await"), "expect(await f(1)).toBe(3);"),
    ],
)  # fmt: skip
def test_expect_has_its_own_idioms(line: str, seen: Observation, expected: str) -> None:
    text = in_test("x", line)
    assert corrected_test(text, {0: [seen]}) == in_test(
        "x", f"{expected} // current behaviour"
    ).replace(", () => {", ", async () => {" if "await" in expected else ", () => {")


ERRORS = """export function call(kind, x) {
  if (kind === "range") throw new RangeError("no");
  if (kind === "type") %s;
  if (kind === "repeat") return "x".repeat(x);
  return x.trim().missing.length;
}
"""


def expecting(number: int, call: str, error: str = "") -> tuple[str, str]:
    """A test that expects a value, or an error, and then something that is true."""
    line = f"assert.throws(() => {call}, {error});" if error else f"assert.equal({call}, 1);"
    name = f"t{number}"
    return name, f'test("{name}", () => {{\n  {line}\n  assert.ok(true);\n}});'


@pytest.mark.parametrize(
    ("thrown", "expected"),
    [
        ("throw new TypeError()", ["RangeError", "TypeError", "", "RangeError", "TypeError", ""]),
        ("throw TypeError()", ["RangeError", "TypeError", "", "RangeError", "TypeError", ""]),
        ("x.y()", ["RangeError", "", "", "RangeError", "TypeError", ""]),
    ],
)
def test_an_error_is_expected_if_the_subject_raises_such_errors(
    thrown: str, expected: list[str], tmp_path: Path
) -> None:
    require_program("node")
    tests = [
        expecting(0, 'call("range")'),
        expecting(1, 'call("type")'),
        expecting(2, "call(1, {})") if "throw" not in thrown else expecting(2, "missing(1)"),
        expecting(3, 'call("repeat", -1)'),
        expecting(4, 'call("type")', "TypeError"),  # the test's own words stay
        expecting(5, 'call("repeat", 1)', "TypeError"),
    ]
    files = {"call.js": ERRORS % thrown, "package.json": PACKAGE}
    with opened(tmp_path, files, "missing", "javascript", *tests) as project:
        repaired = project.repaired()
    errors = [re.findall(r"throws\(.*, (\w+)\);", text) for text in repaired]
    assert [next(iter(each), "") for each in errors] == expected
    assert all("assert.ok(true);" in text for text in repaired)


def test_no_error_is_expected_of_code_that_raises_none(tmp_path: Path) -> None:
    require_program("node")
    source = ERRORS.replace('throw new RangeError("no")', "return 2") % "x.y()"
    files = {"call.js": source, "package.json": PACKAGE}
    with opened(
        tmp_path, files, "missing", "javascript", expecting(0, 'call("repeat", -1)')
    ) as project:
        assert "throws" not in "".join(project.repaired())


def test_an_assertion_in_one_line_with_others() -> None:
    text = 'test("x", () => { expect(f(1)).toBe(2); expect(f(2)).toBe(3); });'
    assert corrected_test(text, {0: [value("5")], 1: [value("3", right=True)]}) == (
        'test("x", () => { expect(f(1)).toBe(5); /* current behaviour */ expect(f(2)).toBe(3); });'
    )
    body = 'test("x", () => expect(f(1)).toBe(2));'
    assert corrected_test(body, {0: [value("5")]}) == (
        'test("x", () => expect(f(1)).toBe(5) /* current behaviour */);'
    )
    assert corrected_test(body, {0: [raised("ReferenceError")]}) is None


def test_repeated_and_wrong_assertions_are_removed() -> None:
    text = 'test("x", () => {\n  expect(f(1)).toBe(2);\n  expect(f(1)).toBe(3);\n  expect(f(2)).toBe(3);\n});'
    seen = {0: [value("5")], 1: [value("5")], 2: [raised("TypeError", plausible=False)]}
    assert corrected_test(text, seen) == (
        'test("x", () => {\n  expect(f(1)).toBe(5); // current behaviour\n});'
    )


def test_a_test_that_cannot_wait_gets_no_await() -> None:
    text = 'test("x", () => {\n  [1].forEach((each) => {\n    expect(f(each)).toBe(2);\n  });\n});'
    assert corrected_test(text, {0: [value("3", call="await")]}) is None
    done = 'test("x", (done) => {\n  expect(f(1)).toBe(2);\n});'
    assert corrected_test(done, {0: [value("3", call="await")]}) is None


@pytest.mark.parametrize(
    "line",
    ["f(1);", "const x = expect(f(1));", "assert.fail();", "assert.equal(...f());", "expect();", "console.assert(f());", "expect(f(1));"],
)  # fmt: skip
def test_other_statements_are_no_assertions(line: str) -> None:
    assert find_assertions(in_test("x", line)) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('test("a", () => {});', 'test("T", () => { S();});'),
        ("it(`a ${b}`, async function () {});", 'it("T", async function () { S();});'),
        ("test(() => {});", 'test("T", () => { S();});'),
        ('test("a", () => f());', 'test("T", () => (S(), f()));'),
        ('test.each([1])("a %i", (x) => {}, 100);', 'test.each([1])("T", (x) => { S();}, 100);'),
        ('test("é🎉", { skip: 1 }, () => {});', 'test("T", { skip: 1 }, () => { S();});'),
        ('describe(f, () => { it("a", () => {}); beforeEach(() => {}); });', 'describe("T", () => { it("a", () => { S();}); beforeEach(() => {}); });'),
        ('test("a", (t) => { t.test("b", () => {}); });', 'test("T", (t) => { S(); t.test("b", () => { S();}); });'),
    ],
)  # fmt: skip
def test_a_marked_test_has_another_title_and_says_that_it_starts(text: str, expected: str) -> None:
    assert marked_test(text, "T", "S()") == expected
    assert count_errors(expected, "javascript") == 0


def test_an_observed_test_parses(tmp_path: Path) -> None:
    lines = [line for line, _ in (*CORRECTIONS, *RIGHT)]
    for line in lines:
        assert count_errors(observed_test(0, in_test("x", line)), "javascript") == 0
