"""The values with which clients send configuration, and what of them is ours."""

from typing import Any

import pytest

from engine.errors import ConfigurationError
from lsp_server.session.settings_section import find_section

OURS = {"model": "demo", "enabled": False}


@pytest.mark.parametrize(
    "value",
    [
        {"starcoder": OURS},  # VS Code, Neovim, Emacs, coc.nvim
        {"starcoder": OURS, "python": {"model": "x"}, "git": {"enabled": True}, "editor.tab": 2},
        {"starcoder.model": "demo", "starcoder.enabled": False, "python.path": "x"},  # flat
        {"starcoder": {"model": "demo"}, "starcoder.enabled": False},
        OURS,  # Helix, Kate, Zed
        {**OURS, "git": {"enabled": True}, "python": {}},
    ],
)
def test_our_settings_are_found_among_others(value: Any) -> None:
    assert find_section(value) == OURS


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        [],
        {"starcoder": None},
        {"python": {"x": 1}},
        {"git": {"enabled": True}, "model": {"name": "x"}},  # sections of others with our names
        {"yaml": None, "editor.fontSize": 12},
        {"starcoder-lsp": {"model": "x"}},
    ],
)
def test_a_value_without_our_settings_says_nothing(value: Any) -> None:
    assert find_section(value) is None


@pytest.mark.parametrize("empty", [{}, []])
def test_an_empty_section_is_a_section(empty: Any) -> None:
    assert find_section({"starcoder": empty}) == {}


def test_a_wrong_name_is_kept_so_that_it_is_reported() -> None:
    assert find_section({"modle": "x"}) == {"modle": "x"}
    assert find_section({"starcoder": {"zanzibar": {}}}) == {"zanzibar": {}}
    assert find_section({"zanzibar": {}}, is_ours=True) == {"zanzibar": {}}


@pytest.mark.parametrize("value", [5, "text", True, [1], {"starcoder": 5}, {"starcoder": ["x"]}])
def test_a_value_that_is_no_object_is_refused(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="expected an object"):
        find_section(value)
