"""The tokenizer of brackets, quotes and comments, and its options."""

import pytest

from fim.postprocess.bracket_scanner import closes_more_than_it_opens, scan, unclosed_quote


def characters(text: str, **options: object) -> str:
    return "".join(token.character for token in scan(text, **options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ("f(a[1])", {}, "([])"),
        ("f(')', \"]\", `}`)", {}, "()"),  # brackets in strings
        ("f(')')", {"quotes": ""}, "())"),
        ("f('a\\')')", {}, "()"),  # an escaped quote
        ("f('a\\\\')", {}, "()"),  # an escaped backslash
        ("f('a)\ng(b)", {}, "('()"),  # an unclosed string ends with its line
        ("# don't f(\ng(", {"unclosed_quotes_open_strings": False}, "(("),
        ("f(a)  # (\n// (\n[", {"comments": True}, "()["),
        ("f(a)  # (", {}, "()("),
        ("a', b) + (", {"open_quote": "'"}, "')("),
        ("a, b) + (\n)", {"open_quote": "'"}, ")"),
        ('echo \\"(', {}, '"'),
        ('echo \\"(', {"escapes": True}, "("),
    ],
)
def test_brackets_and_quotes_are_found(
    text: str, options: dict[str, object], expected: str
) -> None:
    assert characters(text, **options) == expected


@pytest.mark.parametrize(
    ("text", "offset"),
    [("f('a', \"b", 7), ("f('a')", None), ("'a\\'", 0), ("`a` + `b", 6), ("", None)],
)
def test_an_unclosed_quote_is_found(text: str, offset: int | None) -> None:
    assert unclosed_quote(text) == offset


def test_quotes_of_other_kinds_are_ignored() -> None:
    assert unclosed_quote("fn f<'a>(x: &'a str", quotes='"') is None


@pytest.mark.parametrize(("text", "expected"), [("a)", True), ("(a))", True), ("(a)[", False)])
def test_superfluous_closing_brackets_are_found(text: str, expected: bool) -> None:
    assert closes_more_than_it_opens(text) is expected
