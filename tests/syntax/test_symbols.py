"""The functions and classes of every supported language are found."""

import pytest

from syntax.symbols import enclosing_symbol, find_symbols

SAMPLES = {
    "python": (
        "import x\n\n@cache\ndef one(a):\n    def inner():\n        pass\n    return a\n\n\n"
        "class Two(Base):\n    x = 1\n\n    async def three(self):\n        return 1\n",
        ["one", "one.inner", "Two", "Two.three"],
    ),
    "javascript": (
        "export function one(a) { return a; }\nconst two = (b) => b;\n"
        "export default class Three { four() { return 1; } }\nmodule.exports = { two };\n",
        ["one", "two", "Three", "Three.four"],
    ),
    "typescript": (
        "export const one = async (a: number): Promise<number> => { return a; };\n"
        "interface Two { a: string }\nclass Three<T> { private four(x: T): T { return x; } }\n",
        ["one", "Two", "Three", "Three.four"],
    ),
    "go": (
        "package a\n\nfunc One(a int) int { return a }\n\n"
        "func (s *Two[T]) Three() error {\n\treturn nil\n}\n",
        ["One", "Two.Three"],
    ),
    "rust": (
        "pub fn one(a: u8) -> u8 { a }\nstruct Two<T> { t: T }\n"
        "impl<T> Two<T> { fn three(&self) {} }\n",
        ["one", "Two", "Two.three"],
    ),
    "java": (
        "package a;\npublic class One {\n  int two(int a) { return a; }\n  One() {}\n}\n",
        ["One", "One.two", "One.One"],
    ),
    "c": ("static int *one(int a) {\n  return 0;\n}\n", ["one"]),
    "cpp": (
        "class One { int two() { return 1; } };\nint One::three() { return 2; }\n",
        ["One", "One.two", "One::three"],
    ),
    "csharp": ("class One { int Two(int a) { return a; } }\n", ["One", "One.Two"]),
    "ruby": ("class One\n  def two(a)\n    a\n  end\nend\n", ["One", "One.two"]),
    "php": ("<?php\nfunction one($a) { return $a; }\n", ["one"]),
    "kotlin": ("class One {\n  fun two(a: Int): Int { return a }\n}\n", ["One", "One.two"]),
    "lua": ("local function one(a)\n  return a\nend\n", ["one"]),
    "shellscript": ("one() {\n  echo 1\n}\n", ["one"]),
    "scala": ("class One {\n  def two(a: Int): Int = a\n}\n", ["One", "One.two"]),
    "swift": ("class One {\n  func two(a: Int) -> Int { return a }\n}\n", ["One", "One.two"]),
}


@pytest.mark.parametrize("language", SAMPLES)
def test_all_symbols_of_a_language_are_found(language: str) -> None:
    text, expected = SAMPLES[language]
    symbols = find_symbols(text, language)
    assert [".".join([*symbol.parents, symbol.name]) for symbol in symbols] == expected
    for symbol in symbols:
        assert text[symbol.start : symbol.end] == symbol.text
        signature = symbol.text[: symbol.body - symbol.start]
        assert symbol.name.split("::")[-1] in signature or symbol.body == symbol.end


def test_the_enclosing_symbol_is_the_innermost_with_its_decorators() -> None:
    text, _ = SAMPLES["python"]
    outer = enclosing_symbol(text, "python", text.index("return a"))
    assert outer is not None
    assert outer.name == "one"
    assert outer.text.startswith("@cache\ndef one(a):")
    inner = enclosing_symbol(text, "python", text.index("pass"))
    assert inner is not None
    assert (inner.name, inner.in_function, inner.indent) == ("inner", True, "    ")
    assert inner.dedented == "def inner():\n    pass"
    on_decorator = enclosing_symbol(text, "python", text.index("@cache"))
    assert on_decorator is not None
    assert on_decorator.name == "one"
    attribute = enclosing_symbol(text, "python", text.index("x = 1"))
    assert attribute is not None
    assert attribute.name == "Two"
    assert enclosing_symbol(text, "python", 0) is None
    across = enclosing_symbol(text, "python", text.index("x = 1"), text.index("return 1"))
    assert across is not None
    assert across.name == "Two"


def test_offsets_are_in_code_points() -> None:
    text = "# \N{PARTY POPPER} ünï\ndef one():\n    return '\N{PARTY POPPER}'\n"
    symbol = enclosing_symbol(text, "python", text.index("return"))
    assert symbol is not None
    assert symbol.text == "def one():\n    return '\N{PARTY POPPER}'"


def test_text_without_a_grammar_or_without_code_has_no_symbols() -> None:
    assert find_symbols("whatever", "klingon") == []
    assert find_symbols('{"class": 1}', "json") == []
    assert find_symbols("", "python") == []
    assert enclosing_symbol("x = 1\n", "python", 2) is None


def test_an_incomplete_file_still_has_symbols() -> None:
    text = "def one(a):\n    return a\n\n\ndef two(b:\n    retur"
    assert "one" in [symbol.name for symbol in find_symbols(text, "python")]


def test_a_null_character_does_not_end_the_text() -> None:
    for line in ("x = '\0'\n", "'''\0'''\n", "# \0\n"):
        code = f"{line}def f(a):\n    return '\0'\n"
        symbol = enclosing_symbol(code, "python", code.index("return"))
        assert symbol is not None
        assert symbol.text == code[len(line) :].rstrip()
