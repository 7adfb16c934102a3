"""Valid settings are used, invalid ones are reported, and the documentation lists them all."""

import json
from pathlib import Path
from typing import Any

import pytest

from lsp_server.settings import Settings, resolve, schema

PAGE = Path(__file__).parent.parent.parent / "docs" / "settings.md"

EMPTY_VALUES = [None, {}, [], {"starcoder": {}}, {"starcoder": []}, {"model": None}]


@pytest.mark.parametrize("value", EMPTY_VALUES)
def test_an_empty_value_means_the_defaults(value: Any) -> None:
    assert resolve(value).settings == Settings()
    assert resolve(value).problems == ()


def test_valid_values_are_used_with_and_without_the_section() -> None:
    value = {"model": "bigcode/starcoder", "debounceMs": 100, "disabledLanguages": ["markdown"]}
    for form in (value, {"starcoder": value}):
        settings = resolve(form).settings
        assert settings.model == "bigcode/starcoder"
        assert settings.debounce_ms == 100
        assert settings.disabled_languages == ("markdown",)
        assert settings.engine.model == "bigcode/starcoder"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("debounceMs", -1),
        ("debounceMs", "25"),
        ("maxNewTokens", 10_000),
        ("multiline", "sometimes"),
        ("device", "tpu"),
        ("engineUrl", "box:8765"),
        ("engineUrl", "http://[::1"),
        ("engineUrl", "http://box:port"),
        ("exclude", ["*.key", "!"]),
        ("exclude", ["[z-a]"]),
        ("enabled", "yes"),
        ("model", ""),
        ("contextWindow", 3),
    ],
)
def test_an_invalid_value_is_reported_and_the_others_are_used(key: str, value: Any) -> None:
    resolved = resolve({key: value, "offline": True})
    (problem,) = resolved.problems
    assert f"starcoder.{key} = {value!r}" in problem
    assert "default" in problem
    assert resolved.settings == Settings(offline=True)


def test_an_unknown_key_is_reported() -> None:
    assert "starcoder.modle is not a setting" in resolve({"modle": "x"}).problems[0]


def test_a_value_that_is_not_an_object_is_reported() -> None:
    assert "expected an object" in resolve([1]).problems[0]


def test_a_problem_does_not_show_the_token() -> None:
    (problem,) = resolve({"engineToken": 12345}).problems
    assert "12345" not in problem


def test_the_documentation_lists_each_setting_with_default_and_description() -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line.startswith("| `starcoder.")]
    assert len(rows) == len(Settings.model_fields)
    for field, row in zip(Settings.model_fields.values(), rows, strict=True):
        default = list(field.default) if isinstance(field.default, tuple) else field.default
        columns = f"`starcoder.{field.alias}` | `{json.dumps(default)}` | {field.description}"
        assert row == f"| {columns} |"


def test_the_schema_contains_each_setting() -> None:
    aliases = {field.alias for field in Settings.model_fields.values()}
    assert set(schema()["properties"]) == aliases
