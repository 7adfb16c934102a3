"""Valid settings are used, invalid ones are reported, and the documentation lists them all."""

import json
from pathlib import Path
from typing import Any

import pytest

from lsp_server.settings import Settings, resolve, schema

PAGE = Path(__file__).parent.parent.parent / "docs" / "settings.md"

NULLABLE_TEXTS = (
    "revision",
    "draftModel",
    "engineUrl",
    "engineToken",
    "engineModel",
    "tokenizer",
    "adapter",
    "chatTokenizer",
    "chatAdapter",
)


@pytest.mark.parametrize("value", [{}, {"model": None}, dict.fromkeys(NULLABLE_TEXTS, "")])
def test_an_empty_value_means_the_defaults(value: Any) -> None:
    assert resolve(value).settings == Settings()
    assert resolve(value).problems == ()


def test_valid_values_are_used() -> None:
    value = {"model": "bigcode/starcoder", "debounceMs": 100, "disabledLanguages": ["markdown"]}
    settings = resolve(value).settings
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
        ("engineUrl", "http://"),
        ("engineUrl", "http://:8080"),
        ("engineUrl", "http:///v1"),
        ("engineUrl", "http://a box"),
        ("engineUrl", "http://a..b"),
        ("engineUrl", "http://box:0"),
        ("engineUrl", "http://box:99999"),
        ("engineUrl", "http://box:-1"),
        ("engineUrl", "http://box?a=b"),
        ("engineUrl", "http://box/#a"),
        ("engineUrl", "http://box\n"),
        ("engineUrl", "ftp://box"),
        ("engineUrl", 5),
        ("exclude", "*.key"),
        ("exclude", {"*.key": True}),
        ("disabledLanguages", "python"),
        ("idleTimeoutSeconds", float("inf")),
        ("idleTimeoutSeconds", float("nan")),
        ("idleTimeoutSeconds", 1e300),
        ("idleTimeoutSeconds", -1),
        ("maxPromptTokens", 10**30),
        ("contextWindow", 10**30),
        ("contextWindow", 64.5),
        ("maxNewTokens", True),
        ("model", ["demo"]),
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


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("modle", "did you mean starcoder.model?"),
        ("max_new_tokens", "did you mean starcoder.maxNewTokens?"),
        ("engine-url", "did you mean starcoder.engineUrl?"),
        ("engineURL", "did you mean starcoder.engineUrl?"),
        ("zanzibar", "it is ignored."),
    ],
)
def test_an_unknown_key_is_reported_with_the_name_that_it_resembles(
    name: str, suggestion: str
) -> None:
    (problem,) = resolve({name: "x"}).problems
    assert problem == f"starcoder.{name} is not a setting; {suggestion}"


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("!", "name in it is empty"),
        ("a//b", "name in it is empty"),
        ("/", "name in it is empty"),
        ("foo\\", "ends with a backslash"),
        ("./a/b.py", "begin it with / instead"),
        ("../a.py", "begin it with / instead"),
        ("!a/./b.py", "begin it with / instead"),
        ("config\\prod.py", "write / instead"),
        ("größe\\ä.py", "write / instead"),
        ("[z-a]", "range z-a is reversed"),
        ("[ab", "bracket is not closed"),
        ("[[:vowel:]]", "unknown class"),
        ("a\0b", "null character"),
        (5, "not a text"),
        (None, "not a text"),
        (["*.key"], "not a text"),
    ],
)
def test_an_entry_that_cannot_be_used_is_skipped_and_the_others_are_used(
    entry: Any, reason: str
) -> None:
    usable = ["*.key", "", "# a\\b", "\\!kept.key", "\\#", "a\\ b", "\\[id\\].py", "..a", ".*/.b."]
    resolved = resolve({"exclude": [entry, *usable]})
    (problem,) = resolved.problems
    assert f"starcoder.exclude contains {entry!r}" in problem
    assert reason in problem
    assert resolved.settings.exclude == tuple(usable)


def test_a_language_that_is_no_text_is_skipped() -> None:
    resolved = resolve({"disabledLanguages": ["python", 5, {}]})
    assert resolved.settings.disabled_languages == ("python",)
    assert len(resolved.problems) == 2


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
