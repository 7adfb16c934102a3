"""Reads configuration files that may be broken: of any content, and of any type in each place."""

from __future__ import annotations

import configparser
import json
import re
import tomllib
from collections.abc import Iterable
from typing import Any

_JSON_PART = re.compile(r'"(?:\\.|[^"\\\n])*"|//[^\n]*|/\*.*?\*/|,(?=\s*[}\]])', re.S)
"""A string, or what JSON with comments has and JSON has not."""


def parse_json(text: str | None) -> dict[str, Any]:
    """Return the object in a JSON file, with comments or not; empty for any other content."""
    plain = _JSON_PART.sub(lambda match: match[0] if match[0][0] == '"' else "", text or "")
    try:
        return as_object(json.loads(plain))
    except (ValueError, RecursionError):
        return {}


def parse_toml(text: str | None) -> dict[str, Any]:
    """Return the tables of a TOML file; empty for an invalid one."""
    try:
        return tomllib.loads((text or "").replace("\r\n", "\n"))
    except (ValueError, RecursionError):
        return {}


def parse_ini(text: str | None) -> dict[str, dict[str, str]]:
    """Return the sections of an INI file; empty for an invalid one."""
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(text or "")
        return {section: dict(parser.items(section)) for section in parser.sections()}
    except (configparser.Error, ValueError):
        return {}


def as_object(value: object) -> dict[str, Any]:
    """Return a value that is an object with text keys, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_words(value: object) -> list[str]:
    """Return the words of a text, or the texts in a list; empty for any other value."""
    if isinstance(value, str):
        return value.split()
    if isinstance(value, Iterable) and not isinstance(value, dict | bytes):
        return [item for item in value if isinstance(item, str)]
    return []


def table(values: dict[str, Any], *keys: str) -> dict[str, Any]:
    """Return a table inside tables, empty if a key is missing or is no table."""
    for key in keys:
        values = as_object(values.get(key))
    return values
