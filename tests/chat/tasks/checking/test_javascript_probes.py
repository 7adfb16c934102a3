"""Further calls of functions in JavaScript and TypeScript, and what Node observes."""

import re
from pathlib import Path

import pytest

from chat.tasks.checking.javascript.literals import NotLiteralError, literal, value_of
from chat.tasks.checking.javascript.probes import observed_probes, probe_tests
from chat.tasks.dialects.base import GeneratedTests, Snippet, Subject
from syntax.grammars import count_errors, parse
from syntax.symbols import enclosing_symbol
from tests.chat.tasks.checking.running import opened, require_program

PACKAGE = '{"type": "module", "scripts": {"test": "node --test"}}'


def subject(text: str, language: str = "javascript", cursor: str = "/**/") -> Subject:
    symbol = enclosing_symbol(text, language, text.index(cursor))
    assert symbol is not None
    return Subject(symbol, Path("/p/a.js"), text, language)


def calls(code: str, *tests: str, language: str = "javascript") -> list[str]:
    """The calls of the probes of the function with an empty comment."""
    snippets = [Snippet(f"t{i}", f'test("t{i}", () => {{ {t} }});') for i, t in enumerate(tests)]
    probes = probe_tests(snippets, subject(code, language), "node").tests
    assert len(probes) <= 32
    assert len({probe.name for probe in probes}) == len(probes)
    assert all(count_errors(probe.text, "javascript") == 0 for probe in probes)
    written = [re.search(r"equal\((.*), Symbol\(\)\);", probe.text) for probe in probes]
    return [match[1] for match in written if match]


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("f(4)", ["f(0)", "f(-4)", "f(5)", "f(3)", "f(47)"]),
        ("f(-2.5)", ["f(0)", "f(2.5)", "f(-2.0)"]),
        ("f('ab')", ['f("")', 'f("AB")', 'f(" ab ")', 'f("a")', 'f("ab ab")']),
        ("f([1, 2])", ["f([])", "f([1])", "f([2, 1])", "f([1, 2, 1, 2])"]),
        ("f({ a: 1, 'b-c': null })", ["f({})", "f({ a: 1 })"]),
        ("f(true)", ["f(false)"]),
    ],
)
def test_arguments_of_given_calls_are_varied(call: str, expected: list[str]) -> None:
    written = calls("function f(x) { /**/ }", f"assert.equal({call}, 1);")
    assert written[: len(expected)] == expected
    assert call not in written


def test_all_arguments_are_varied_in_turn() -> None:
    written = calls("function f(x, y) { /**/ }", "const r = f(1, 'a');")
    assert written[:4] == ['f(0, "a")', 'f(1, "")', 'f(-1, "a")', 'f(1, "A")']


@pytest.mark.parametrize("call", ["f(x)", "f(1n)", "f(...a)", "f('\\n')", "f({ ...a })", "f([g()])", "g(77)"])  # fmt: skip
def test_other_calls_are_not_varied(call: str) -> None:
    assert calls("function f(x) { /**/ }", f"{call};") == calls("function f(x) { /**/ }")


@pytest.mark.parametrize(
    ("parameters", "first"),
    [
        ("text", 'f("Hello World")'),
        ("items, n", "f([3, 1, 2], 3)"),
        ("words", 'f(["b", "a", "b"])'),
        ("unclear", "f(3)"),
        ("...unclear", "f(3)"),
        ("{ name, count = 1 }", 'f({ name: "Hello World", count: 3 })'),
        ("items, predicate", "f([3, 1, 2], (x) => x > 1)"),
        ("isOpen", "f(true)"),
        ("", "f()"),
    ],
)
def test_samples_fit_the_names(parameters: str, first: str) -> None:
    assert calls(f"function f({parameters}) {{ /**/ }}")[0] == first


@pytest.mark.parametrize(
    ("parameters", "first"),
    [
        ("unclear: string", 'f("Hello World")'),
        ("text: number", "f(3)"),
        ("this: Window, text: boolean", "f(true)"),
        ("n: string[]", 'f(["b", "a", "b"])'),
        ("n: readonly number[]", "f([3, 1, 2])"),
        ("n: T[]", "f([3, 1, 2])"),
        ("n: Array<string>", 'f(["b", "a", "b"])'),
        ("n: Record<string, number>", "f({ a: 1, b: 2 })"),
        ("n: number | undefined", "f(3)"),
        ("test: (x: number) => boolean", "f(() => true)"),
        ("...n: string[]", 'f("Hello World")'),
    ],
)
def test_samples_fit_the_annotations(parameters: str, first: str) -> None:
    written = calls(f"function f<T>({parameters}): void {{ /**/ }}", language="typescript")
    assert written[0] == first


TYPES = """type Size = "small" | "large";
interface Item { name: string; price: number; sizes: Size[]; note?: string }
type Pair = [number, string];
type Tree = { left: Tree; value: number };
interface Big extends Item { size: number }
type Box<T> = { inner: T };
"""


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        ("Size", ['"small"', '"large"']),
        ("Size | null", ['"small"', '"large"', "null"]),
        ("1 | true", ["1", "true"]),
        (
            "Item",
            [
                '{ name: "Hello World", price: 3, sizes: ["large", "small", "small"] }',
                '{ name: "", price: 0, sizes: [] }',
                '{ name: "a1, b2", price: -2, sizes: ["small"] }',
            ],
        ),
        (
            "readonly Pair[]",
            ['[[0, ""], [3, "Hello World"], [-2, "a1, b2"]]', "[]", '[[3, "Hello World"]]'],
        ),
        ("Array<{ a: boolean }>", ["[{ a: false }, { a: true }]", "[]", "[{ a: true }]"]),
        ("Readonly<{ a: 1 }>", ["{ a: 1 }"]),
        (
            "{ a: boolean; b: Size; c: string }",
            [
                '{ a: true, b: "small", c: "Hello World" }',
                '{ a: false, b: "large", c: "" }',
                '{ a: true, b: "small", c: "a1, b2" }',
            ],
        ),
        ("Date", ['new Date("2024-02-29T12:30:00Z")', 'new Date("2023-12-31T00:00:00Z")']),
        ("Map<string, number>", ['new Map([["Hello World", 3], ["", 3]])', "new Map([])"]),
        (
            "Set<Size>",
            ['new Set(["large", "small", "small"])', "new Set([])", 'new Set(["small"])'],
        ),
        ("Promise<boolean>", ["Promise.resolve(true)", "Promise.resolve(false)"]),
        ("() => number", ["() => 3", "() => 0"]),
        (
            "(x: string) => Promise<{ a: boolean }>",
            ["async () => ({ a: true })", "async () => ({ a: false })"],
        ),
        ("() => Promise<void>", ["async () => {}"]),
        ("(a: number, b: string) => void", ["() => {}"]),
    ],
)
def test_samples_of_declared_types(annotation: str, expected: list[str]) -> None:
    code = f"{TYPES}export function f(x: {annotation}) {{ /**/ }}"
    assert calls(code, language="typescript")[: len(expected)] == [
        f"f({text})" for text in expected
    ]


@pytest.mark.parametrize(
    "annotation", ["User", "User[]", "Tree", "Big", "Box<number>", "{ f(): number }", "keyof Item"]
)
def test_arguments_of_unknown_types_are_left_alone(annotation: str) -> None:
    code = f"function f(x: {annotation}) {{ /**/ }}"
    assert calls(code, 'f("a"); f([{}]); f({ a: 1 });', language="typescript") == []


def test_null_is_tried_where_the_type_has_it() -> None:
    written = calls("function f(x: string | null) { /**/ }", language="typescript")
    assert "f(null)" in written


def test_typical_values_of_all_parameters_come_first() -> None:
    written = calls("function f(n, text) { /**/ }")
    assert written[:3] == ['f(3, "Hello World")', 'f(3, "")', 'f(0, "Hello World")']
    assert len(written) == 24


def test_parameters_with_a_default_value_are_given_later() -> None:
    written = calls("const f = (n, step = 1) => { /**/ };")
    assert written[0] == "f(3)"
    assert written.index("f(3, 3)") > written.index("f(0)")


def test_constants_of_the_function_are_tried() -> None:
    code = 'function f(n, text) { /**/ return n < 18 || text === "abc"; }'
    written = calls(code)
    assert {f'f({n}, "Hello World")' for n in (17, 18, 19)} <= set(written)
    assert 'f(3, "abc")' in written


CLASS = """class Base {}
class Account %s {
  constructor(%s) {}
  %s { /**/ }
}
"""


@pytest.mark.parametrize(
    ("heritage", "constructor", "method", "first"),
    [
        ("", "limit", "pay(amount)", "new Account(3).pay(3)"),
        ("", "limit = 1", "async pay(amount)", "new Account().pay(3)"),
        ("extends Base", "limit", "static pay(amount)", "Account.pay(3)"),
    ],
)
def test_methods_are_called_on_new_objects(
    heritage: str, constructor: str, method: str, first: str
) -> None:
    assert calls(CLASS % (heritage, constructor, method))[0] == first


@pytest.mark.parametrize("method", ["get pay()", "#pay(x)", "set pay(x)"])
def test_some_members_cannot_be_called(method: str) -> None:
    assert calls(CLASS % ("", "x", method)) == []


def test_no_object_is_made_if_the_constructor_is_not_known() -> None:
    assert calls("class A extends B {\n  pay(x) { /**/ }\n}") == []
    assert calls("class A {\n  pay(x) { /**/ }\n}")[0] == "new A().pay(3)"
    private = "class A {\n  private constructor() {}\n  pay(x: number) { /**/ }\n}"
    assert calls(private, language="typescript") == []


def test_calls_of_methods_are_varied() -> None:
    code = CLASS % ("", "a, b, c, d, e", "pay(amount)")
    variations = ["new Account(1).pay(0)", "new Account(1).pay(-7)"]
    assert calls(code, "const a = new Account(1); a.pay(7);")[:2] == variations
    assert calls(code, "new Account(1).pay(7);")[:2] == variations
    assert calls(code, "new Account(x).pay(7); a.pay(7); new Account(1).other(7);") == []


def test_titles_say_what_is_called() -> None:
    probes = probe_tests([], subject("function f(n, text) { /**/ }"), "vitest").tests
    names = [probe.name for probe in probes]
    assert names[:2] == ["f of 3 and a text", "f of 3 and an empty text"]
    assert "f of minus 2 and a text" in names
    assert "f of 3 and a text 2" in names
    assert "expect(f(" in probes[0].text


@pytest.mark.parametrize("text", ["0", "-12", "1.5", '"é🎉"', "[]", "[1, [null]]", '{ a: true, "b c": {} }'])  # fmt: skip
def test_literals_are_read_and_written(text: str) -> None:
    assert literal(value_of(node(text))) == text


@pytest.mark.parametrize("text", ["010", "0x1f", "1e999", "x", "{ __proto__: 1 }", "{ [a]: 1 }", "[[[[[[1]]]]]]", "`${a}`"])  # fmt: skip
def test_unusual_literals_are_not_read(text: str) -> None:
    with pytest.raises(NotLiteralError):
        value_of(node(text))


def node(text: str):  # type: ignore[no-untyped-def]
    root = parse(f"({text})", "javascript")
    assert root is not None
    return root.named_children[0].named_children[0].named_children[0]


@pytest.mark.parametrize(
    ("line", "is_kept"),
    [
        ("assert.throws(() => f(1), TypeError);", True),
        ("assert.equal(f(1), 3);", True),
        ("assert.equal(f(1), Symbol());", False),
        ("assert.equal(f(1), undefined);", False),
    ],
)
def test_only_observed_values_are_kept(line: str, is_kept: bool) -> None:
    probes = GeneratedTests((), (), (Snippet("a", f'test("a", () => {{\n  {line}\n}});'),))
    assert bool(observed_probes(probes).tests) == is_kept


def test_undefined_is_kept_next_to_other_values() -> None:
    tests = tuple(Snippet(each, f"assert.equal(f(1), {each});") for each in ("undefined", "1"))
    assert observed_probes(GeneratedTests((), (), tests)).tests == tests


CODE = """export async function grade(points, name) {
  if (points > 100) throw new RangeError("too many points");
  while (points === 0) {}
  return { points: points * 2, name: name.trim() };
}
"""


def test_node_observes_the_values(tmp_path: Path) -> None:
    require_program("node")
    test = ("t", 'test("t", () => {\n  assert.equal(grade(5, "x"), 1);\n});')
    files = {"grade.js": CODE, "package.json": PACKAGE}
    with opened(tmp_path, files, "return", "javascript", test) as project:
        probes = project.runner.probe(project.job, project.generated)
        run, *mutants = project.runner.run(project.job, probes, [None, *project.mutations])
    assert run.passed == {probe.name for probe in probes.tests}
    texts = [probe.text for probe in probes.tests]
    assert any('await grade(6, "x"), { points: 12, name: "x" }' in text for text in texts)
    assert any("rejects(() => grade(101" in text for text in texts)
    assert all("// current behaviour" in text for text in texts)
    assert not any("TypeError" in text or "grade(0" in text for text in texts)
    assert any(mutant.failed for mutant in mutants)
