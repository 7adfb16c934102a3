"""Code of any depth and length is looked at in bounded time, without recursion."""

import time

import pytest

from syntax.damage import Damage, examine_edit
from syntax.documentation import documentation_at
from syntax.grammars import count_errors, parse
from syntax.literals import literal_lines
from syntax.offsets import ByteOffsets, with_line_feeds
from syntax.python_source import parse_python
from syntax.symbols import enclosing_symbol, find_symbols
from syntax.walk import nodes
from syntax.window import MAX_CHARACTERS, near

MINIFIED = "".join(f'function f{i}(a,b){{return a[{i}]+"x{i}"*(b)}};' for i in range(20_000))

DEEP = {
    "calls": ("javascript", "x" + ".a(1)" * 50_000 + ";\nfunction f(a) {\n  return a\n}\n"),
    "brackets": ("python", "x = " + "[" * 20_000 + "]" * 20_000 + "\ndef f(a):\n    return a\n"),
    "functions": (
        "javascript",
        "f(function () {" * 5_000 + "})" * 5_000 + "\nfunction f() {\n1\n}\n",
    ),
    "else-ifs": (
        "c",
        "int g(int x) {\n  if (x) return 0;\n"
        + "  else if (x == 1) return 2;\n" * 5_000
        + "}\nint f(int a) {\n  return a;\n}\n",
    ),
    "generics": ("rust", "type A = " + "B<" * 5_000 + "u8" + ">" * 5_000 + ";\nfn f() {\n 1\n}\n"),
    "templates": ("cpp", "template <class T> " * 3_000 + "int g();\nint f() {\n  return 1;\n}\n"),
    "tags": (
        "javascriptreact",
        "x = " + "<a>" * 2_000 + "</a>" * 2_000 + ";\nfunction f() {\n1\n}\n",
    ),
    "strings": ("python", "x = (" + "'a' +\n" * 20_000 + "'a')\ndef f(a):\n    return a\n"),
    "modules": ("ruby", "module A\n" * 3_000 + "def f\n  1\nend\n" + "end\n" * 3_000),
}


@pytest.mark.parametrize("name", DEEP)
def test_a_function_near_deep_code_is_seen(name: str) -> None:
    language, text = DEEP[name]
    cursor = text.rindex("f") + 5 if language != "ruby" else text.index("  1")
    started = time.perf_counter()
    symbol = enclosing_symbol(text, language, cursor)
    assert symbol is not None
    assert symbol.name == "f"
    assert symbol.text == text[symbol.start : symbol.end]
    assert documentation_at(text, language, cursor) is not None
    assert literal_lines(text, language, symbol.start, symbol.end) == frozenset()
    assert examine_edit(text, language, symbol.start, symbol.end, symbol.text).damage is None
    assert time.perf_counter() - started < 20


def test_symbols_inside_each_other_do_not_fill_the_memory() -> None:
    text = "function f(){" * 3_000 + "}" * 3_000
    assert len(find_symbols(text, "javascript")) == 100
    symbol = enclosing_symbol(text, "javascript", len(text) // 2)
    assert symbol is not None
    assert symbol.start > 99 * len("function f(){")
    assert len(symbol.parents) == 100


def test_of_a_long_text_only_the_lines_near_the_cursor_are_looked_at() -> None:
    text = "def f():\n    return 1\n\n\n" * 40_000
    cursor = text.index("return", len(text) // 2)
    part, start = near(text, cursor, cursor)
    assert len(part) < MAX_CHARACTERS < len(text)
    assert text[start : start + len(part)] == part
    assert part.startswith(("def", "    ret", "\n"))
    symbol = enclosing_symbol(text, "python", cursor)
    assert symbol is not None
    assert symbol.start < cursor < symbol.end
    assert text[symbol.start : symbol.end] == symbol.text == "def f():\n    return 1"
    assert text[symbol.body :].startswith("return 1")


@pytest.mark.parametrize("number", [0, 5_000, 9_999, 12_000, 19_999])
def test_a_function_in_minified_code_is_seen(number: int) -> None:
    cursor = MINIFIED.index(f"function f{number}(") + 20
    symbol = enclosing_symbol(MINIFIED, "javascript", cursor)
    assert symbol is not None
    assert symbol.name == f"f{number}"


def test_of_several_functions_on_a_line_the_one_at_the_cursor_counts() -> None:
    text = "function a(){return 1} function b(){return 2}  // end\nclass C { d(){} e(){} }\n"
    for place, name in (("return 1", "a"), ("return 2", "b"), ("d()", "d"), ("e()", "e")):
        symbol = enclosing_symbol(text, "javascript", text.index(place) + 1)
        assert symbol is not None
        assert symbol.name == name
    touching = "function a(){}function b(){}"
    symbol = enclosing_symbol(touching, "javascript", touching.index("function b"))
    assert symbol is not None
    assert symbol.name == "b"
    on_class = enclosing_symbol(text, "javascript", text.index("class") + 1)
    assert on_class is not None
    assert on_class.name == "C"


@pytest.mark.parametrize("cursor", ["    @a", "# note", "x = 1", "def f"])
def test_white_space_and_comments_on_a_line_belong_to_its_symbol(cursor: str) -> None:
    text = "class A:\n    @a\n    def f(self):  # note\n        x = 1\n\n    y = 2\n"
    symbol = enclosing_symbol(text, "python", text.index(cursor))
    assert symbol is not None
    assert symbol.name == "f"


def test_a_selection_may_end_at_the_beginning_of_the_next_line() -> None:
    text = "def f():\n    return 1\n\n\ndef g():\n    pass\n"
    symbol = enclosing_symbol(text, "python", 0, text.index("def g"))
    assert symbol is not None
    assert symbol.name == "f"
    assert enclosing_symbol(text, "python", 0, text.index("g()")) is None


def test_attributes_belong_to_the_function_after_them() -> None:
    text = "#[a]\n// Note.\n#[b]\nfn f() {}\n\nfn g() {}\n"
    symbol = enclosing_symbol(text, "rust", text.index("#[b]"))
    assert symbol is not None
    assert (symbol.name, symbol.start) == ("f", 0)
    assert [each.start for each in find_symbols(text, "rust")] == [0, text.index("fn g")]
    typescript = "class A {\n  @Input()\n  f() {}\n  g() {}\n}\n"
    starts = {each.name: each.start for each in find_symbols(typescript, "typescript")}
    assert starts == {"A": 0, "f": typescript.index("@"), "g": typescript.index("g()")}


@pytest.mark.parametrize(
    "code",
    [
        "x = " + "[" * 300 + "]" * 300,
        "x = " + "(" * 10_000 + ")" * 10_000,
        "x = " + "-" * 100_000 + "1",
        "x = " + "a." * 40_000 + "b",
        "x = " + "'a' + " * 10_000 + "'a'",
        "if a:\n  b\n" + "elif a:\n  b\n" * 5_000,
        "\0",
        "x = '\ud83d'",
        "def f(:",
        "lambda: " * 10_000 + "1",
    ],
)
def test_python_s_own_parser_never_raises(code: str) -> None:
    parse_python(code)
    assert parse_python("x = '\\d'") is not None


def test_a_text_that_takes_too_long_is_given_up() -> None:
    text = MINIFIED * 2
    started = time.perf_counter()
    assert parse(text, "javascript", max_seconds=0.02) is None
    assert time.perf_counter() - started < 1
    assert count_errors("x = (", "python") == 1


def test_nodes_are_visited_in_the_order_of_the_text() -> None:
    root = parse("a = f(1, g(2))\n", "python")
    assert root is not None
    leaves = [node.text for node in nodes(root) if not node.children]
    assert leaves == [b"a", b"=", b"f", b"(", b"1", b",", b"g", b"(", b"2", b")", b")"]
    outer = [node.type for node in nodes(root, lambda node: node.type != "call")]
    assert "argument_list" not in outer
    assert outer[-1] == "call"


@pytest.mark.parametrize("text", ["", "abc", "é🎉\ud83d" * 5_000, "a" * 5_000 + "é"])
def test_offsets_are_converted_both_ways(text: str) -> None:
    offsets = ByteOffsets(text)
    for offset in {0, 1, 2, 4095, 4096, 4097, len(text) // 2, len(text)}:
        if offset <= len(text):
            in_bytes = len(text[:offset].encode("utf-8", "surrogatepass"))
            assert offsets.to_bytes(offset) == in_bytes
            assert offsets.to_characters(in_bytes) == offset


def test_a_carriage_return_alone_is_a_line_end() -> None:
    text = "def f():\r    return 1\r\r\ndef g():\r    pass"
    assert with_line_feeds(text) == "def f():\n    return 1\n\r\ndef g():\n    pass"
    assert [symbol.name for symbol in find_symbols(text, "python")] == ["f", "g"]
    symbol = enclosing_symbol(text, "python", text.index("pass"))
    assert symbol is not None
    assert (symbol.name, symbol.start) == ("g", text.index("def g"))


def test_an_edit_that_changes_the_structure_is_damage() -> None:
    text = "class A {\n  f() {}\n  g() {}\n}\n"
    start = text.index("f()")
    same = examine_edit(text, "javascript", start, start + 6, "f() { return 1; }")
    assert (same.damage, same.inside) == (None, (("A", "f"),))
    closed = examine_edit(text, "javascript", start, start + 6, "f() {} } class B {")
    assert closed.damage is Damage.STRUCTURE
    broken = examine_edit(text, "javascript", start, start + 6, "f() {")
    assert broken.damage is Damage.SYNTAX
    python = "class A:\n    x = 1\n\n    def g(self): pass\n"
    assert examine_edit(python, "python", 9, 18, "x = 1").damage is Damage.SYNTAX
    assert examine_edit("a b (", "klingon", 0, 1, "((").damage is None
    # A place is compared in a long file as well.
    long = text * 20_000
    middle = long.index("f()", len(long) // 2)
    assert examine_edit(long, "javascript", middle, middle + 6, "f() {} } class B {").damage
    assert examine_edit(long, "javascript", middle, middle + 6, "f() { return 1; }").damage is None
