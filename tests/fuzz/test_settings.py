"""Random settings, by each way on which a client sends them.

A value that cannot be used is reported, its default is kept, and the server stays alive.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.client.engine_key import engine_key
from lsp_server.session.surrogates import well_formed
from lsp_server.settings import Settings, resolve
from tests.fuzz.conftest import FUZZING
from tests.fuzz.settings_server import COMMAND
from tests.raw_client import RawClient, RawProcess, client_of, raw_process

VALID: dict[str, Any] = {
    "enabled": True,
    "disabledLanguages": ["python"],
    "exclude": ["*.key", "!kept.key"],
    "model": "demo",
    "maxNewTokens": 64,
    "multiline": "never",
    "debounceMs": 0,
    "idleTimeoutSeconds": 5,
    "engineUrl": "http://127.0.0.1:9",
    "chatSystem": "Be brief.",
    "logLevel": "warning",
}
KEYS = [field.alias for field in Settings.model_fields.values()]
NAMES = sorted(Settings.model_fields)
"""Names in Python, which are no settings."""
texts = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        [
            "",
            "~",
            "~nobody/x",
            "/",
            "\0",
            "\ud83d",
            "demo",
            "auto",
            "http://",
            "https://[",
            "!",
            "\\",
        ]
    ),
)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), texts
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=6,
)
objects = st.dictionaries(
    st.one_of(st.sampled_from(KEYS), st.sampled_from(KEYS), st.sampled_from(NAMES), texts),
    values,
    max_size=4,
)
settings_values = st.one_of(
    objects,
    objects.map(lambda value: {**VALID, **value}),
    objects.map(lambda value: {"starcoder": value}),
    values,
)


@FUZZING
@given(value=settings_values)
def test_each_wrong_value_is_reported_and_has_no_effect(value: Any) -> None:
    value = well_formed(value)  # as the server does with every message
    resolved = resolve(value)
    given_values = value.get("starcoder", value) if isinstance(value, dict) else value
    if not isinstance(given_values, dict):
        assert resolved.settings == Settings()
        assert bool(resolved.problems) == (given_values not in (None, []))
        return
    for key, inner in given_values.items():
        is_reported = any(problem.startswith(f"starcoder.{key}") for problem in resolved.problems)
        if key not in KEYS:
            assert is_reported or inner is None
        elif is_reported:
            name = next(n for n, field in Settings.model_fields.items() if field.alias == key)
            assert getattr(resolved.settings, name) == Settings.model_fields[name].default


@FUZZING
@given(value=settings_values)
def test_settings_that_were_accepted_can_be_used(value: Any) -> None:
    """Creating engines, completions and chat from them raises nothing."""
    settings = resolve(well_formed(value)).settings
    assert engine_key(settings.engine)
    assert settings.fim
    assert settings.chat


@pytest.fixture(scope="module")
def client() -> Iterator[RawProcess]:
    answers: list[Any] = [None]
    with raw_process(COMMAND, answer=lambda _: {"result": answers}) as process:
        process.initialize()
        yield process


@FUZZING
@given(value=settings_values)
def test_changed_settings_leave_the_server_alive(client: RawProcess, value: Any) -> None:
    client.messages.clear()
    client.notify("workspace/didChangeConfiguration", {"settings": value})
    assert_works(client)


@pytest.fixture(scope="module")
def pulled() -> Iterator[tuple[RawProcess, list[Any]]]:
    answers: list[Any] = [None]
    with raw_process(COMMAND, answer=lambda _: {"result": [answers[0]]}) as process:
        process.initialize(workspace={"configuration": True})
        yield process, answers


@FUZZING
@given(value=settings_values)
def test_settings_that_the_server_asks_for_leave_it_alive(
    pulled: tuple[RawProcess, list[Any]], value: Any
) -> None:
    client, answers = pulled
    client.messages.clear()
    answers[0] = value
    client.notify("workspace/didChangeConfiguration", {"settings": None})
    assert_works(client)


@pytest.fixture(scope="module")
def socket_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server to which each example connects as a new client."""
    folder = tmp_path_factory.mktemp("s")
    folder.chmod(0o700)
    path = str(folder / "lsp.sock")
    with raw_process([*COMMAND, path]) as process:
        while not process.log:
            time.sleep(0.05)
        yield path


@FUZZING
@given(value=settings_values)
def test_a_server_starts_with_any_settings(socket_path: str, value: Any) -> None:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(socket_path)
    with client_of(connection) as client:
        assert "result" in client.initialize(value)
        assert_works(client)


def assert_works(client: RawClient) -> None:
    assert "result" in client.request("starcoder/debugInfo")
    client.notify("workspace/didChangeConfiguration", {"settings": {"enabled": True}})
    document = {"uri": "file:///a.py", "languageId": "python", "version": 1, "text": "x = "}
    client.notify("textDocument/didOpen", {"textDocument": document})
    params = {
        "textDocument": {"uri": "file:///a.py"},
        "position": {"line": 0, "character": 4},
        "context": {"triggerKind": 1},
    }
    assert "result" in client.request("textDocument/inlineCompletion", params)
    internal = "failed to handle this"
    shown = [
        each["params"]["message"]
        for each in client.messages
        if each.get("method") == "window/showMessage"
    ]
    assert [message for message in shown if internal in message] == []
