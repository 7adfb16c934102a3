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

from syntax.mutations import find_mutations
from syntax.symbols import find_symbols
from tests.syntax.mutation.checks import changes, descriptions, of_all
from tests.syntax.mutation.samples import GO, JAVA, JAVASCRIPT, RUST, TYPESCRIPT

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


def test_a_description_is_for_a_person() -> None:
    lines = descriptions(GO, "go")
    assert "return value b.size > 2 && true was negated" in lines
    assert "return value became larger by 1" in lines
    assert "returned error became nil" in lines
    code = f"if {'a and ' * 50}b:\n    pass\n"
    assert len(descriptions(code, "python")[0]) < 80


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
    inputs: tuple[list[int], ...] = (
        [],
        [1, 2, 3, 4, 5, 8],
        [5, 9, 7],
        [9],
        [1, 6],
        [0, 3, 6, 2, 7],
    )

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
