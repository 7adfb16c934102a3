"""Open brackets and strings decide where a block ends, before the indentation does."""

import pytest

from fim.postprocess.open_brackets import Open, in_string_or_comment, open_at_line_ends
from fim.postprocess.truncate import Extent, Truncator, scope_of, truncate
from fim.snapshot import Snapshot


def at_bar(text: str, language: str = "python") -> Snapshot:
    cursor = text.index("|")
    return Snapshot("u", language, text[:cursor] + text[cursor + 1 :], cursor)


def truncated(text: str, output: str, language: str = "python") -> str:
    snapshot = at_bar(text, language)
    truncator = Truncator(snapshot, scope_of(snapshot))
    for size in range(len(output)):
        early = truncator.truncate(output[:size], ended=False)
        if early.done:
            return early.text
    return truncator.truncate(output, ended=True).text


@pytest.mark.parametrize(
    ("text", "output", "language", "expected"),
    [
        # A bracket or string continues the block, whatever the indentation.
        (
            "def f():\n    |\n",
            "x = g(\n1,\n)\n    return x\ny",
            "python",
            "x = g(\n1,\n)\n    return x",
        ),
        (
            "def f():\n    |\n",
            's = """a\nb\n\nc"""\n    return s\ny',
            "python",
            's = """a\nb\n\nc"""\n    return s',
        ),
        # In a docstring, the block ends with the string.
        (
            'def f():\n    """Do.\n\n    |\n',
            'More.\n    """\n    return 1\n',
            "python",
            'More.\n    """',
        ),
        # Brackets in strings do not count.
        ("function f() {|\n", '\n  a("{");\n}\ng();\n', "javascript", '\n  a("{");\n}'),
        (
            "function f() {|\n",
            "\n  a(`x ${b}\n(`);\n}\ng();\n",
            "javascript",
            "\n  a(`x ${b}\n(`);\n}",
        ),
        # Words that close a block.
        ("if x then|\n", "\n  y()\nend\nz()\n", "lua", "\n  y()\nend"),
        ("[ -e a ]; then|\n", "\n  b\nfi\nc\n", "shellscript", "\n  b\nfi"),
        # A line that opens a block includes the block.
        ("def f(|\n", "a):\n    return a\n\n\nx", "python", "a):\n    return a"),
        ("class A|\n", " {\n  b() {\n  }\n}\nc", "javascript", " {\n  b() {\n  }\n}"),
        # It does not in a comment or a string.
        ("# see|\n", " below:\n    x\n", "python", " below:"),
        ("x = 'see|\n", " below:\n    x\n", "python", " below:"),
        # Without a grammar, the indentation decides.
        ("a:|\n", "\n  b\n  c\nd\n", "unknown", "\n  b\n  c"),
    ],
)
def test_where_a_suggestion_ends(text: str, output: str, language: str, expected: str) -> None:
    assert truncated(text, output, language) == expected


def test_open_brackets_and_strings_at_line_ends() -> None:
    states = open_at_line_ends(
        "def f():\n    ", '"""Do\n  x (y\n  """\n  return (1,\n 2)', "python"
    )
    assert states == [
        Open(),
        Open(0, True),
        Open(0, True),
        Open(),
        Open(1),
        Open(),
    ]
    assert open_at_line_ends("f(", "a)\n}", "javascript") == [Open(), Open(-1), Open(-2)]
    assert open_at_line_ends("f(", "a)", "nonsense") is None
    assert open_at_line_ends("", "", "python") == [Open(), Open()]
    emoji = open_at_line_ends("x = '🎉'\n", "y = ('🎉',\n1)", "python")
    assert emoji == [Open(), Open(1), Open()]


@pytest.mark.parametrize(
    ("above", "language", "expected"),
    [
        ("x = 1  # don't", "python", True),
        ("x = 1  # done\n", "python", False),
        ('x = """a\nb', "python", True),
        ('x = """a\nb"""', "python", False),
        ("x = 'a", "python", True),
        ("x = 'a\\'", "python", True),
        ("x = 'a' + ", "python", False),
        ("fn f<'a>(x: &'a str) {", "rust", False),
        ("// it", "javascript", True),
        ("let a = `b", "javascript", True),
        ("", "python", False),
        ("x = 'a", "unknown", False),
    ],
)
def test_the_end_of_a_text_may_be_in_a_string_or_comment(
    above: str, language: str, expected: bool
) -> None:
    assert in_string_or_comment(above, language) is expected


def test_a_line_that_reaches_the_token_limit_loses_its_last_word() -> None:
    snapshot = at_bar("x = |")
    scope = scope_of(snapshot)
    assert scope.extent is Extent.LINE
    assert truncate("foo(bar, ba", scope, ended=True, limited=True).text == "foo(bar,"
    assert truncate("foo(bar, ba", scope, ended=True).text == "foo(bar, ba"
