"""Few mutations are chosen well, with the right offsets, in text of any shape."""

import pytest

from syntax.mutations import find_mutations
from syntax.symbols import find_symbols
from tests.syntax.mutation.checks import ALL, of_all


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
    three = lines_and_kinds(3)
    assert len(lines_and_kinds(1)) == 1
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
