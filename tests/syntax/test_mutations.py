"""Mutations of functions and classes are small, correct code, and different from the original."""

import ast
import bisect
import heapq
import shutil
import statistics
import string
import subprocess
import textwrap
import types
import warnings
from pathlib import Path

import pytest

from syntax.grammars import count_errors
from syntax.mutations import Mutation, find_mutations
from syntax.symbols import find_symbols
from tests.syntax.mutation_samples import GO, JAVA, JAVASCRIPT, RUST, TYPESCRIPT

ALL = 1000


def of_all(text: str, language: str) -> list[Mutation]:
    """Return all mutations of a text, after checks of what is true for all of them."""
    mutations = find_mutations(text, language, 0, len(text), ALL)
    for mutation in mutations:
        assert mutation.apply(text) != text
        assert mutation.line == text.count("\n", 0, mutation.start)
        assert count_errors(mutation.apply(text), language) == count_errors(text, language)
    assert mutations == sorted(mutations, key=lambda each: (each.start, each.end))
    return mutations


def changes(text: str, language: str) -> list[tuple[str, str]]:
    """Return the old and the new text of all mutations, in their order."""
    mutations = of_all(text, language)
    return [(text[each.start : each.end], each.replacement) for each in mutations]


def descriptions(text: str, language: str) -> list[str]:
    return [mutation.description for mutation in of_all(text, language)]


PYTHON = '''\
@app.get("/price", 3)
def price(items: "list[int]", rate: float = 0.5, *, cap: int | None = None) -> int:
    """Return the price of 3 items."""
    import os.path
    total = 0  # 1 < 2
    for item in items:
        if item < 0 or not item:
            continue
        total += item * 2
    if cap is not None:
        total = min(total, cap)
    label = "big" if total >= 0x1F else f"small {total + 1}" "x"
    return total
'''


def test_the_mutations_of_a_python_function() -> None:
    assert descriptions(PYTHON, "python") == [
        "0.5 became 1.5",
        "0 became 1",
        "condition item < 0 or not item was negated",
        "< became <=",
        "0 became 1",
        "or became and",
        "continue became break",
        "+= became -=",
        "* became +",
        "2 became 3",
        "is not became is",
        "min became max",
        '"big" became "xbig"',
        "condition total >= 0x1F was negated",
        ">= became >",
        "0x1F became 0x20",
        "+ became -",
        "1 became 2",
        '"x" became "xx"',
        "return value became None",
    ]


def test_the_mutations_of_a_javascript_function() -> None:
    assert descriptions(JAVASCRIPT, "javascript") == [
        "1 became 2",
        "0 became 1",
        "0 became 1",
        "condition i < a.length was negated",
        "< became <=",
        "2 became 3",
        "=== became !==",
        "continue became break",
        "+= became -=",
        "- became +",
        "++ became --",
        "1 became 2",
        "2 became 3",
        "condition n in b was negated",
        "break became continue",
        '"a" became "xa"',
        "`b` became `xb`",
        "return value became null",
        "return value became null",
        "condition Math.max(n, 7n) % 2 was negated",
        "return value became null",
        "max became min",
        "7n became 8n",
        "% became *",
        "2 became 3",
    ]


def test_the_mutations_of_a_typescript_class() -> None:
    assert changes(TYPESCRIPT, "typescript") == [
        ("1", "2"),
        ("!h", "h"),
        ("(k as any).a * w", "null as any"),
        ("*", "+"),
        ("this.size > 1", "null as any"),
        (">", ">="),
        ("1", "2"),
    ]
    code = 'const f = (a: number) => { return <p k={a + 1}>{a ? 1 : "b"} text 1</p>; };'
    assert changes(code, "typescriptreact")[1:] == [
        ("+", "-"),
        ("1", "2"),
        ("a", "!a"),
        ("1", "2"),
        ('"b"', '"xb"'),
    ]


def test_the_mutations_of_a_go_function() -> None:
    assert changes(GO, "go") == [
        ("0", "1"),
        ("x < 0 && i != 3", "!(x < 0 && i != 3)"),
        ("<", "<="),
        ("0", "1"),
        ("&&", "||"),
        ("!=", "=="),
        ("3", "4"),
        ("0", "1"),
        ('"negative %d"', '"xnegative %d"'),
        ("+=", "-="),
        ("*", "+"),
        ("total > 10", "!(total > 10)"),
        (">", ">="),
        ("10", "11"),
        ("break", "continue"),
        ("+", "-"),
        ("1", "2"),
        ("+=", "="),
        ('"!"', '"x!"'),
        ("total", "(total) + 1"),
        ("label", '(label) + "x"'),
        ("!=", "=="),
        ("0", "1"),
        ("err", "nil"),
        ("1", "2"),
        ('m["a"] - grid[2]', '(m["a"] - grid[2]) + 1'),
        ('"a"', '"xa"'),
        ("-", "+"),
        ("2", "1"),
        ("label", '(label) + "x"'),
        ("b.size > 2 && true", "!(b.size > 2 && true)"),
        (">", ">="),
        ("2", "3"),
        ("&&", "||"),
        ("true", "false"),
        ("xs[1:]", "xs[1:][:0]"),
        ("1", "0"),
    ]


def test_the_mutations_of_a_rust_function() -> None:
    code = (
        "fn f(a: u8, names: &[String]) -> Option<u8> {\n"
        "    let n = names.len() + 1;\n"
        "    if let Some(x) = g(0) { if a == 255 { return Some(x[1]); } }\n"
        '    let s = a.to_string() + "b";\n'
        '    match n { 0 => None, _ if a > 31 => Some(a.min(2)), _ => { Some(b"c"[0]) } }\n'
        "}\n"
    )
    assert changes(code, "rust") == [
        ("+", "-"),
        ("1", "2"),
        ("0", "1"),
        ("==", "!="),
        ("255", "254"),
        ("Some(x[1])", "{ let _: Option<u8> = Some(x[1]); None }"),
        ("1", "0"),
        ('"b"', '"xb"'),
        ("a > 31", "!(a > 31)"),
        (">", ">="),
        ("31", "30"),
        ("Some(a.min(2))", "{ let _: Option<u8> = Some(a.min(2)); None }"),
        ("min", "max"),
        ("2", "3"),
        ('Some(b"c"[0])', '{ let _: Option<u8> = Some(b"c"[0]); None }'),
        ("0", "1"),
    ]


def test_the_mutations_of_a_java_method() -> None:
    code = (
        'class A { private int total = 1; @X("a") String f(Object o, int n) {\n'
        "  if (o instanceof String s && s.isEmpty()) { return null; }\n"
        "  while (true) { if (n > 2) break; }\n"
        "  for (int i : xs) { total += i; if (i != 0) continue; }\n"
        '  switch (n) { case 1: return "a" + n; default: total = n + total; }\n'
        "  try { return g(n); } catch (E e) { return Math.max(n, 3L) + e.text; }\n"
        "}\n  boolean g(int a) { return a >= total; } }\n"
    )
    assert changes(code, "java") == [
        ("1", "2"),
        ("n > 2", "!(n > 2)"),
        (">", ">="),
        ("2", "3"),
        ("+=", "-="),
        ("!=", "=="),
        ("0", "1"),
        ("continue", "break"),
        ('"a"', '"xa"'),
        ('"a" + n', "null"),
        ("+", "-"),
        ("max", "min"),
        ("3L", "4L"),
        ("a >= total", "!(a >= total)"),
        (">=", ">"),
    ]


@pytest.mark.skipif(shutil.which("rustc") is None, reason="optional: there is no Rust compiler")
def test_a_compiler_accepts_all_mutations_of_rust(tmp_path: Path) -> None:
    mutations = of_all(RUST, "rust")
    modules = (f"mod m{i} {{\n{each.apply(RUST)}}}\n" for i, each in enumerate(mutations))
    (tmp_path / "lib.rs").write_text("".join(modules), encoding="utf-8")
    command = ["rustc", "--edition=2021", "--crate-type=lib", "-Awarnings", "lib.rs"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert len(mutations) > 100


@pytest.mark.skipif(shutil.which("javac") is None, reason="optional: there is no Java compiler")
def test_a_compiler_accepts_all_mutations_of_java(tmp_path: Path) -> None:
    mutations = of_all(JAVA, "java")
    for index, mutation in enumerate(mutations):
        file = tmp_path / f"p{index}" / "Shop.java"
        file.parent.mkdir()
        file.write_text(f"package p{index};\n{mutation.apply(JAVA)}", encoding="utf-8")
    files = [str(path) for path in tmp_path.glob("p*/Shop.java")]
    command = ["javac", "-proc:none", "-d", str(tmp_path / "out"), *files]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert len(mutations) > 80


@pytest.mark.parametrize("module", [bisect, heapq, statistics, string, textwrap])
def test_python_compiles_all_mutations_of_its_library(module: types.ModuleType) -> None:
    text = Path(str(module.__file__)).read_text(encoding="utf-8")
    functions = [each for each in find_symbols(text, "python") if each.kind == "function"]
    num_mutations = 0
    for symbol in functions[:12]:
        before = ast.dump(ast.parse(symbol.dedented))
        for mutation in find_mutations(text, "python", symbol.start, symbol.end, 15):
            assert symbol.start <= mutation.start < mutation.end <= symbol.end
            code = mutation.apply(text)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # `1 is not x`
                compile(code, module.__name__, "exec")
                changed = code[symbol.start : symbol.end + len(code) - len(text)]
                after = ast.parse(textwrap.dedent(symbol.indent + changed))
            assert ast.dump(after) != before
            num_mutations += 1
    assert num_mutations > 20


def test_mutations_behave_differently() -> None:
    text = (
        "def f(xs, low=2):\n    kept, longest = [], 0\n    for x in xs:\n        if x == 9:\n"
        "            break\n        if x < low or x % 5 == 3:\n            continue\n"
        "        kept.append(x * 3 - 1)\n        longest += max(x, 4)\n"
        "    return kept if kept else 'none', longest\n"
    )
    inputs = ([], [1, 2, 3, 4, 5, 8], [5, 9, 7], [9], [1, 6], [0, 3, 6, 2, 7])

    def behaviour(code: str) -> list[object]:
        names: dict[str, types.FunctionType] = {}
        exec(code, names)
        results: list[object] = []
        for values in inputs:
            try:
                results.append(names["f"](values))
            except TypeError:
                results.append(TypeError)
        return results

    mutations = of_all(text, "python")
    assert len(mutations) == 23
    same = [each for each in mutations if behaviour(each.apply(text)) == behaviour(text)]
    assert same == []


def test_offsets_are_in_code_points_of_the_text_as_it_is() -> None:
    text = (
        "# \N{PARTY POPPER} ünï\r\n\r\ndef f(a):\r\n    s = '\N{PARTY POPPER} é'\r\n"
        "    return s * a\r\n"
    )
    mutations = of_all(text, "python")
    assert [(text[each.start : each.end], each.line) for each in mutations] == [
        ("'\N{PARTY POPPER} é'", 3),
        ("s * a", 4),
        ("*", 4),
    ]
    assert mutations[0].apply(text) == text.replace("'\N{PARTY POPPER}", "'x\N{PARTY POPPER}")
    carriage_returns = find_mutations(text.replace("\n", ""), "python", 0, len(text), ALL)
    assert [mutation.line for mutation in carriage_returns] == [3, 4, 4]


def test_a_function_in_a_very_long_file_has_the_same_mutations() -> None:
    function = "def f(a):\n    return a < 1\n"
    before = "# é\nx = 1\n" * 40_000
    text = before + function + before
    mutations = find_mutations(text, "python", len(before), len(before) + len(function), ALL)
    assert [text[each.start : each.end] for each in mutations] == ["a < 1", "<", "1"]
    assert {mutation.line for mutation in mutations} == {80_001}


def test_only_the_range_is_mutated() -> None:
    text = (
        "class A:\n    x = 1\n\n    @property\n    def f(self):\n        def g(b):\n"
        "            return b + 2\n        return g(3)\n\n    def h(self):\n        return 4\n"
    )
    numbers = {}
    for symbol in find_symbols(text, "python"):
        mutations = find_mutations(text, "python", symbol.start, symbol.end, ALL)
        changed = (text[each.start : each.end] for each in mutations)
        numbers[symbol.name] = "".join(sorted(set(filter(str.isdigit, changed))))
    assert numbers == {"A": "1234", "f": "23", "g": "2", "h": "4"}


def test_documentation_imports_and_types_stay() -> None:
    for language, code in {
        "python": (
            "class A:\n    'Doc.'\n    x: 'int' = y\n    'Also.' 'doc'\n\n    @a(1)\n"
            '    def f(self, b: L[\'x\']) -> \'int\':\n        r"""Doc 1."""\n'
            "        from x import y\n"
            "        import_module('x')\n        return None  # 1 < 2\n\n\n"
            "if __name__ == '__main__':\n    f(x)\n"
        ),
        "javascript": "import a from 'b';\nexport * from 'c';\nconst x = require('d');\n'use y';",
        "typescript": "type A = 1 | 'b';\ninterface B { c: 'd' }\nlet x: [1, 2];\n@a(1) class C {}",
        "go": 'package a\nimport "b"\ntype C struct { d [3]int `e` }\n',
        "rust": '#[a(b = "c")]\nfn f(x: [u8; 3]) { assert!(1 < 2, "d"); let y = [z; 4]; p.0; }\n',
        "java": 'import a.b;\n@C("d") class E { @F(1) int g; }\n',
    }.items():
        assert changes(code, language) == []


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("while 1: pass", []),
        ("while True: pass", ["False"]),
        ("x = a / 1 + 0", ["+", "2", "*", "1"]),
        ("x = a << 0 | 0", ["1", "1"]),
        ("if a > b: b = a", ["not (a > b)"]),
        ("if a > b: b = a + c", ["not (a > b)", ">=", "-"]),
        ("x = a if a >= b else b", ["not (a >= b)"]),
        ("x = a if a >= b else c", ["not (a >= b)", ">"]),
        ("if(a): pass", ["not a"]),
        ("if a == b: pass", ["!="]),
        ("x = 'a' + b + c; y = '%s' % b; z = '-' * n", ["'xa'", "'x%s'", "'x-'"]),
        ("x = str(a) + b; y = [a] + b; x += 'b'", ["=", "'xb'"]),
        ("x = f'a{b + 1}' + '' + b''", ["-", "2"]),
        ("x = f'{a[\"b\"]:>3}'", []),
        ("x = 00; y = 0o7; z = 1_000; f = 1e5; j = 2j", ["1", "0o10", "1001", "3j"]),
        ("def f():\n    return(a)", ["None"]),
        ("f = lambda a: a", ["None"]),
        ("def f():\n    yield a\n    yield from b", ["None"]),
        ("x = a<b; y = a not  in b", ["<=", "in"]),
        ("for i in a:\n    break\nelse:\n    x -= 1", ["continue", "+=", "2"]),
        ("x = min(a, self.max(b))", ["max"]),
        (f"x = {'9' * 5_000}", []),
    ],
)
def test_replacements_in_python(code: str, expected: list[str]) -> None:
    assert [new.strip() for _, new in changes(f"{code}\n", "python")] == expected


FIVE = """\
def f(a, b):
    a = a + 1 + 2 + 3 + 4 + 5
    if a < b:
        b = 6
    elif a > b:
        b = 7
    else:
        while b > 8:
            b -= 9
    return [10, 11, 12, 13, 14, 15, 16]
"""


def lines_and_kinds(count: int) -> list[tuple[int, str]]:
    mutations = find_mutations(FIVE, "python", 0, len(FIVE), count)
    assert len(mutations) == count
    assert mutations == find_mutations(FIVE, "python", 0, len(FIVE), count)
    return [(each.line, FIVE[each.start : each.end]) for each in mutations]


def test_few_mutations_are_spread_over_branches_lines_and_kinds() -> None:
    branches = lines_and_kinds(6)
    assert {line for line, _ in branches} > {3, 4, 5, 7, 8}
    assert {line for line, _ in lines_and_kinds(13)} == {1, 2, 3, 4, 5, 7, 8, 9}
    assert len({text for _, text in branches if not text.isdigit()}) >= 3
    one, three = lines_and_kinds(1), lines_and_kinds(3)
    assert len(one) == 1
    assert len({line for line, _ in three}) == 3
    assert find_mutations(FIVE, "python", 0, len(FIVE), 0) == []
    assert find_mutations(FIVE, "python", 5, 5, 3) == []


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("python", "def f(a:\n    return a <\n  if x: 1 +"),
        ("python", "return ) 1 < < 2 and"),
        ("javascript", "function f( { return 1 + ; } else { x = `${"),
        ("rust", "fn f() -> u32 { match { 0 =>"),
        ("go", "func f() (int, { return 1,"),
        ("java", "class A { int f( { return 1 + ; }"),
        ("python", "x = '\ud83d' + 1\0"),
        ("klingon", "x = 1"),
        ("json", "[1]"),
        ("python", ""),
    ],
)
def test_text_that_is_not_code_raises_nothing(language: str, text: str) -> None:
    for mutation in find_mutations(text, language, 0, len(text), ALL):
        assert mutation.apply(text) != text


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("python", "x = " + "(" * 3_000 + "1" + ")" * 3_000),
        ("python", "x = " + "-(" * 3_000 + "a + 1" + ")" * 3_000),
        ("python", "x = " + " + ".join(["a"] * 5_000)),
        ("python", "if " + "not " * 3_000 + "a: pass"),
        ("javascript", "x = " + "a ? b : " * 3_000 + "c"),
        ("javascript", "x" + ".a(1)" * 5_000),
        ("rust", "fn f() -> u32 { " + "if a { 1 } else { " * 1_000 + "2" + "}" * 1_001),
        ("java", "class A { int f(int a) { return " + "a - " * 5_000 + "1; } }"),
        ("go", "func f() bool { return " + "!(" * 3_000 + "a" + ")" * 3_000 + " }"),
    ],
)
def test_deep_code_is_mutated_in_bounded_time(language: str, text: str) -> None:
    assert len(find_mutations(text, language, 0, len(text), 5)) in range(1, 6)
