"""A slash command is short for a request; everything else is what it is."""

import pytest

from chat.slash import COMMANDS, expand


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("/explain", "What does this code do?"),
        ("/explain in einem Satz", "What does this code do? in einem Satz"),
        ("/tests\nwith pytest", "Write tests for this code. with pytest"),
        ("/etc/passwd is a file", "/etc/passwd is a file"),
        ("/explainer", "/explainer"),
        ("why /explain", "why /explain"),
        ("", ""),
    ],
)
def test_what_is_asked(text: str, asked: str) -> None:
    assert expand(text) == asked


def test_names_are_unique() -> None:
    assert len({one.name for one in COMMANDS}) == len(COMMANDS)
