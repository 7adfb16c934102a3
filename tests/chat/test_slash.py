"""Slash commands: known ones have a prompt, unknown ones are reported, other text stays text."""

import pytest

from chat.slash import COMMANDS, expand, parse_slash
from engine.errors import RequestError


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("/explain", "What does this code do?"),
        ("/explain in einem Satz", "What does this code do? in einem Satz"),
        ("/tests\nwith pytest", "Write tests for this code. with pytest"),
        ("/Explain: briefly", "What does this code do? briefly"),
        ("/translate Go", "Translate this code to another programming language: Go"),
        ("/REVIEW", "Review this code: what could be better?"),
    ],
)
def test_a_slash_command_is_expanded(text: str, expanded: str) -> None:
    assert expand(text) == expanded
    assert parse_slash(text) is not None


@pytest.mark.parametrize(
    "text",
    [
        "/etc/passwd is a file",
        "/usr/bin is...",
        "/tmp is full",
        "/tmp",
        "/Users is empty",
        "/explain.py does not run",
        "/explain/it",
        "/api/v1/users returns 404",
        "why /explain",
        " /explain",
        "// a comment",
        "//explain",
        "/* a comment */",
        "/** @param x */",
        "/// <summary>",
        "/^a+$/ matches what?",
        "/foo/g",
        "/home, sweet home",
        "/login: what is it?",
        "/5 is a number",
        "/",
        "/ explain",
        "/-v",
        "/_private",
        "",
    ],
)
def test_other_text_is_no_command(text: str) -> None:
    assert parse_slash(text) is None
    assert expand(text) == text


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("/test", "Did you mean /tests?"),
        ("/doc this", "Did you mean /document?"),
        ("/explian", "Did you mean /explain?"),
        ("/Reviews\nall", "Did you mean /review?"),
        ("/help", "The commands are /tests, /explain, /document, /fix, /review, /translate."),
        ("/erkläre das", "The commands are"),
        ("/t", "The commands are"),
        ("/new-chat", "The commands are"),
    ],
)
def test_an_unknown_command_is_reported_with_the_most_similar_one(text: str, advice: str) -> None:
    with pytest.raises(RequestError, match="There is no command /") as caught:
        parse_slash(text)
    assert advice in str(caught.value)
    assert "put a space before it" in str(caught.value)
    assert expand(text) == text  # in a conversation of an older version


def test_command_names_are_unique() -> None:
    assert len({command.name for command in COMMANDS}) == len(COMMANDS)
