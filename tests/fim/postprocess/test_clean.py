"""Text that is never suggested: broken code, repetition, placeholders, secrets, echoes."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.scripted import ScriptedEngine
from fim.completer import Completer
from fim.postprocess.clean import clean
from fim.postprocess.repetition import without_repetition
from fim.postprocess.syntax_repair import cut_to_valid_syntax
from fim.snapshot import Snapshot
from syntax.grammars import count_errors, parser


def suggested(text: str, output: str, language: str = "python") -> str:
    """Return the text that is suggested at the bar for some output of the model, or empty."""
    cursor = text.index("|")
    snapshot = Snapshot("u", language, text[:cursor] + text[cursor + 1 :], cursor)
    cleaned = clean(output, snapshot)
    return "" if cleaned is None else cleaned.text


@pytest.mark.parametrize(
    ("text", "output", "language", "expected"),
    [
        ("x = [1, 2|\ny = 3\n", "])", "python", "]"),  # an unmatched bracket
        ("x = (a|\n", ") + (b))", "python", ") + (b)"),
        ("a\n|\nb\n", "y = f(1, 'x", "python", "y = f"),  # would break the syntax
        ("a\n|\nb\n", "y = dict(", "python", "y = dict"),
        ("a\n|\nb\n", "y = dict(\n    c=1,\n)", "python", "y = dict(\n    c=1,\n)"),
        ("def f(a):\n    |\n\nb\n", "return g(a)", "python", "return g(a)"),
        ("def f(a):\n    return (|\n", "a,", "python", "a,"),  # the bracket was open before
        ("package a\nfunc f() {\n\tx := |\n}\n", "g(1, 2))", "go", "g(1, 2)"),
        # A statement without an end is left out, if the lines before it complete the cursor's line.
        ("if a|\nb = 1\n", ":\n    c()\n    d(1,", "python", ":\n    c()"),
        ("if a|\nb = 1\n", ":\n    c()\n    d(1,\n        2", "python", ":\n    c()"),
        ("if a|\nb = 1\n", ":\n    c()\n    d(1)", "python", ":\n    c()\n    d(1)"),
        ("x = f(|\nb = 1\n", "1,\n    g(", "python", "1,\n    g("),
        ("const a = [|\nlet b = 1;\n", "1, 2]];", "typescript", "1, 2]"),
        ("<p>|</p>\n", "a <b>c</b>", "html", "a <b>c</b>"),
        ("a = [|\n", "1]]", "a language without a grammar", "1]]"),
    ],
)
def test_unmatched_brackets_and_broken_ends_are_cut(
    text: str, output: str, language: str, expected: str
) -> None:
    assert suggested(text, output, language) == expected


def test_a_file_with_a_syntax_error_elsewhere_still_gets_suggestions() -> None:
    assert suggested("def (:\n    |\n", "x = f(1", "python") == "x = f(1"
    assert suggested("def (:\n    |\n", "x = 1\n    y = f(1", "python") == "x = 1\n    y = f(1"


@pytest.mark.parametrize(
    "language",
    [
        "c",
        "cpp",
        "csharp",
        "css",
        "go",
        "html",
        "java",
        "javascript",
        "javascriptreact",
        "json",
        "kotlin",
        "lua",
        "php",
        "python",
        "ruby",
        "rust",
        "scala",
        "shellscript",
        "sql",
        "swift",
        "toml",
        "typescript",
        "typescriptreact",
        "yaml",
    ],
)
def test_every_grammar_loads_and_accepts_an_empty_text(language: str) -> None:
    assert parser(language) is not None
    assert count_errors("", language) == 0
    assert count_errors("<?php f(" if language == "php" else "{[(<!@#", language)


def test_jsx_is_accepted_in_tsx_only() -> None:
    assert count_errors("const a = <p>{b}</p>;\n", "typescriptreact") == 0
    assert count_errors("const a = <p>{b}</p>;\n", "typescript")


texts = st.text(st.sampled_from("ab =()[]{}\"':\n\té🎉"), max_size=30)


@given(before=texts, after=texts, text=texts, size=st.integers(0, 5))
def test_a_cut_text_is_a_beginning_and_breaks_nothing(
    before: str, after: str, text: str, size: int
) -> None:
    snapshot = Snapshot("u", "python", before + after, len(before))
    replaced = min(size, len(snapshot.line_after))
    valid = cut_to_valid_syntax(text, replaced, snapshot)
    assert text.startswith(valid)
    if count_errors(before + after, "python") == 0 and valid:
        assert count_errors(before + valid + after[replaced:], "python") == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a, a, a, a, a, a, a, a", ""),
        ("x = 1\nself.a = a\nself.a = a\nself.a = a", "x = 1\nself.a = a"),
        ("push(a)\npop(b)\npush(a)\npop(b)", "push(a)\npop(b)\npush(a)"),
        ("# ---------------- #", "# ---------------- #"),
        ('"-------------------------------', ""),
        ("----------------", "----------------"),  # underlines a heading
        ("a        =        1        #        b", "a        =        1        #        b"),
        ("]\n]\n]", "]\n]\n]"),
        ("f(1)\nf(2)\nf(3)", "f(1)\nf(2)\nf(3)"),
        ("x[0][0][0]", "x[0][0][0]"),
    ],
)
def test_repetition_is_cut(text: str, expected: str) -> None:
    assert without_repetition(text) == expected


def test_rulers_are_allowed_in_comments_only() -> None:
    assert without_repetition("--------------------", "# ") == "--------------------"
    assert without_repetition("--------------------", "x = '") == ""


def test_a_request_whose_output_repeats_itself_is_stopped() -> None:
    engine = ScriptedEngine(lambda _: "a, b, " * 100)
    snapshot = Snapshot("u", "python", "x = f(", 6)
    assert asyncio.run(Completer(engine).complete(snapshot)).suggestions == ()
    assert engine.tokens_written < 40


def test_placeholders_and_secrets_are_not_suggested() -> None:
    token = "ghp_0123456789abcdefghijABCDEFGHIJ012345"
    assert suggested("mail = |\n", "'<EMAIL>'") == ""
    assert (
        suggested("MARK = '<EMAIL>'\nmail = |\n", "'<EMAIL>'") == "'<EMAIL>'"
    )  # the file contains it already
    assert suggested("token = |\n", f"'{token}'") == ""
    assert suggested(f"token = '{token[:12]}|\n", f"{token[12:]}'") == ""  # a half-typed one
    assert suggested(f"token = '{token}', |\n", "other") == "other"  # the user typed it
    assert suggested("def f():\n    |\n", f"a = 1\n    b = '{token}'") == "a = 1"


def test_the_line_above_is_not_repeated() -> None:
    assert suggested("total = count\nto|\n", "tal = count") == ""
    assert suggested("    }\n    |\n", "}", "javascript") == "}"
