"""Settings: what is good is taken, what is bad is named, and the page lists them all."""

import json
from pathlib import Path
from typing import Any

import pytest

from lsp_server.settings import Settings, resolve, schema

PAGE = Path(__file__).parent.parent.parent / "docs" / "settings.md"


NOTHING = [None, {}, [], {"starcoder": {}}, {"starcoder": []}, {"model": None}]


@pytest.mark.parametrize("sent", NOTHING)
def test_nothing_sent_is_the_defaults(sent: Any) -> None:
    assert resolve(sent).settings == Settings()
    assert resolve(sent).problems == ()


def test_good_values_are_taken_bare_or_under_their_section() -> None:
    sent = {"model": "bigcode/starcoder", "debounceMs": 100, "disabledLanguages": ["markdown"]}
    for form in (sent, {"starcoder": sent}):
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
        ("enabled", "yes"),
        ("model", ""),
        ("contextWindow", 3),
    ],
)
def test_a_bad_value_is_named_and_the_rest_is_kept(key: str, value: Any) -> None:
    resolved = resolve({key: value, "offline": True})
    (problem,) = resolved.problems
    assert f"starcoder.{key} = {value!r}" in problem
    assert "default" in problem
    assert resolved.settings == Settings(offline=True)


def test_an_unknown_key_and_something_that_is_no_mapping() -> None:
    assert "starcoder.modle is no setting" in resolve({"modle": "x"}).problems[0]
    assert "expected an object" in resolve([1]).problems[0]


def test_a_token_is_not_shown() -> None:
    (problem,) = resolve({"engineToken": 12345}).problems
    assert "12345" not in problem


def test_the_page_lists_every_setting_with_its_default() -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line.startswith("| `starcoder.")]
    assert len(rows) == len(Settings.model_fields)
    for field, row in zip(Settings.model_fields.values(), rows, strict=True):
        default = list(field.default) if isinstance(field.default, tuple) else field.default
        name = f"| `starcoder.{field.alias}` | `{json.dumps(default)}` | {field.description} |"
        assert row == name


def test_the_schema_knows_them_too() -> None:
    assert set(schema()["properties"]) == {f.alias for f in Settings.model_fields.values()}
