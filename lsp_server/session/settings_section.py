"""Finds our settings in the different values with which clients send configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.errors import ConfigurationError
from lsp_server.settings import SECTION, is_setting, resembling

_PREFIX = f"{SECTION}."


def find_section(value: Any, *, is_ours: bool = False) -> dict[str, Any] | None:
    """Return our settings in a value that a client sent, by their camelCase names.

    None means that the client says nothing about them. The settings are the member `starcoder`,
    members such as `starcoder.model`, or the members of the value itself. With `is_ours` the value
    is for this server alone. Otherwise it may be the configuration of a whole editor, in which an
    object, such as VS Code's section `git`, belongs to others. Raises ConfigurationError if the
    value cannot contain settings.
    """
    if value is None:
        return None
    members = _object(value)
    named = {
        name.removeprefix(_PREFIX): inner
        for name, inner in members.items()
        if name.startswith(_PREFIX)
    }
    if members.get(SECTION) is not None:
        return {**_object(members[SECTION]), **named}
    if named or SECTION in members:
        return named or None
    if is_ours:
        return members
    own = {name: inner for name, inner in members.items() if not isinstance(inner, Mapping)}
    return own if any(is_setting(name) or resembling(name) for name in own) else None


def _object(value: Any) -> dict[str, Any]:
    """Return the members of an object; Lua sends an empty object as an empty list."""
    if value == []:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigurationError(
            f"{SECTION}: expected an object with settings. The settings stay as they are."
        )
    return {str(name): inner for name, inner in value.items()}
