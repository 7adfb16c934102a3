"""A slash command is replaced by its prompt; other text stays unchanged."""

import pytest

from chat.slash import COMMANDS, expand


@pytest.mark.parametrize(
    ("text", "expanded"),
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
def test_a_slash_command_is_expanded(text: str, expanded: str) -> None:
    assert expand(text) == expanded


def test_command_names_are_unique() -> None:
    assert len({command.name for command in COMMANDS}) == len(COMMANDS)
