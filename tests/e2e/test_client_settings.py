"""Each way in which clients send configuration, to a real server over stdio."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.e2e.client import scripted
from tests.raw_client import RawProcess, raw_process

URI = "file:///work-space/a.py"
OFF = {"enabled": False}
FOREIGN = {"python": {"enabled": True}, "git": {"enabled": True}}


class Client:
    """A client whose answers to `workspace/configuration` a test chooses."""

    def __init__(self, process: RawProcess) -> None:
        self.process = process
        self.answer: Any = {"result": [None]}
        self.pending: list[dict[str, Any]] = []
        """Requests that the client has not answered."""
        process.answer = self._answer

    def _answer(self, request: dict[str, Any]) -> Any:
        if request["method"] != "workspace/configuration":
            return {"result": None}
        if self.answer is None:
            self.pending.append(request)
        return self.answer

    def push(self, settings: Any) -> None:
        self.process.notify("workspace/didChangeConfiguration", {"settings": settings})

    def answer_late(self, result: Any) -> None:
        for request in self.pending:
            self.process.send({"jsonrpc": "2.0", "id": request["id"], "result": result})

    def is_enabled(self) -> bool:
        """Whether the server suggests something. It handles messages in their order."""
        params = {
            "textDocument": {"uri": URI},
            "position": {"line": 0, "character": 4},
            "context": {"triggerKind": 1},
        }
        answer = self.process.request("textDocument/inlineCompletion", params)
        return bool(answer["result"]["items"])

    def becomes(self, *, enabled: bool) -> bool:
        deadline = time.monotonic() + 8
        while self.is_enabled() is not enabled:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def stays(self, *, enabled: bool) -> bool:
        deadline = time.monotonic() + 0.4
        while time.monotonic() < deadline:
            if self.is_enabled() is not enabled:
                return False
            time.sleep(0.05)
        return True

    def shown(self) -> list[str]:
        return [
            each["params"]["message"]
            for each in self.process.messages
            if each.get("method") == "window/showMessage"
        ]


@contextmanager
def started(options: Any = None, *, pulls: bool = False, answer: Any = None) -> Iterator[Client]:
    with raw_process(scripted("1")) as process:
        client = Client(process)
        client.answer = answer
        process.initialize(options, workspace={"configuration": pulls} if pulls else {})
        document = {"uri": URI, "languageId": "python", "version": 1, "text": "x = "}
        process.notify("textDocument/didOpen", {"textDocument": document})
        yield client


@pytest.mark.parametrize(
    "options",
    [OFF, {"starcoder": OFF}, {"starcoder.enabled": False}, {"starcoder": OFF, **FOREIGN}],
)
def test_the_initialization_options_are_used(options: Any) -> None:
    with started(options) as client:
        assert not client.is_enabled()
        assert client.shown() == []


@pytest.fixture(scope="module")
def off() -> Iterator[Client]:
    with started(OFF) as client:
        yield client


@pytest.mark.parametrize("push", [{}, None, [], FOREIGN, {"starcoder": None}, {"starcoder": {}}])
def test_a_push_that_names_none_of_our_settings_changes_nothing(off: Client, push: Any) -> None:
    off.push(push)
    assert off.stays(enabled=False)
    assert off.shown() == []


@pytest.mark.parametrize(
    "push",
    [
        {"starcoder": {"enabled": True}},
        {"starcoder": {"enabled": True}, **FOREIGN},
        {"starcoder.enabled": True, "python.path": "x"},
        {"enabled": True},
        {"enabled": True, **FOREIGN},
        {"starcoder": {"enabled": None}},  # null means the default
    ],
)
def test_a_push_with_our_settings_is_used(off: Client, push: Any) -> None:
    off.push(push)
    assert off.becomes(enabled=True)
    # The client has removed its setting: the initialization options count again.
    off.push({"starcoder": {}})
    assert off.becomes(enabled=False)
    assert off.shown() == []


def test_a_push_keeps_the_settings_that_it_does_not_name(off: Client) -> None:
    off.push({"starcoder": {"debounceMs": 0}})
    assert off.stays(enabled=False)


@pytest.mark.parametrize("push", [5, "text", {"starcoder": 5}])
def test_a_push_that_is_no_object_is_reported(push: Any) -> None:
    with started(OFF) as client:
        client.push(push)
        assert client.stays(enabled=False)
        (message,) = client.shown()
        assert "expected an object" in message


def test_the_same_wrong_setting_is_reported_once() -> None:
    """Helix and VS Code send the same settings in several ways."""
    wrong = {"modle": "x", "exclude": ["!", "*.key"]}
    with started(wrong, pulls=True, answer={"result": [wrong]}) as client:
        client.push({"starcoder": wrong})
        client.push(wrong)
        assert client.stays(enabled=True)
        (message,) = client.shown()
        assert "did you mean starcoder.model?" in message
        assert "starcoder.exclude contains '!'" in message


@pytest.mark.parametrize(
    "answer",
    [
        {"result": None},
        {"result": []},
        {"result": [None]},
        {"result": [{}]},
        {"result": [[]]},
        {"result": [FOREIGN]},
        {"result": "x"},
        {"result": {"starcoder": {"enabled": True}}},
        {"error": {"code": -32601, "message": "unknown"}},
        {"error": "x"},
        {},
        None,
    ],
)
def test_an_answer_without_settings_keeps_the_initialization_options(answer: Any) -> None:
    with started(OFF, pulls=True, answer=answer) as client:
        assert client.stays(enabled=False)
        assert client.shown() == []


@pytest.mark.parametrize(
    "section",
    [
        {"enabled": True},
        {"starcoder": {"enabled": True}},
        {"starcoder": {"enabled": True}, **FOREIGN},  # the client ignores the section's name
    ],
)
def test_an_answer_with_settings_is_used(section: Any) -> None:
    with started(OFF, pulls=True, answer={"result": [section]}) as client:
        assert client.becomes(enabled=True)
        # The client has removed its section.
        client.answer = {"result": [{}]}
        client.push(None)
        assert client.becomes(enabled=False)


def test_the_engine_starts_although_the_client_never_answers() -> None:
    with started({}, pulls=True, answer=None) as client:
        deadline = time.monotonic() + 15
        while not any(
            each.get("params", {}).get("state") == "ready"
            for each in client.process.messages
            if each.get("method") == "starcoder/status"
        ):
            assert time.monotonic() < deadline
            client.is_enabled()
            time.sleep(0.1)


def test_an_answer_that_comes_late_is_used() -> None:
    with started(OFF, pulls=True, answer=None) as client:
        assert client.stays(enabled=False)
        time.sleep(2.2)
        client.answer_late([{"enabled": True}])
        assert client.becomes(enabled=True)
        assert client.shown() == []


def test_what_was_pushed_is_used_if_the_client_has_no_answer() -> None:
    """Helix answers null for the section and pushes its `config`."""
    with started(OFF, pulls=True, answer={"result": [None]}) as client:
        client.push({"enabled": True})
        assert client.becomes(enabled=True)
        client.answer = None
        client.push({"starcoder": OFF})
        assert client.becomes(enabled=False)


def test_the_answer_counts_more_than_the_push_and_the_newest_more_than_earlier_ones() -> None:
    with started({}, pulls=True, answer={"result": [OFF]}) as client:
        assert client.becomes(enabled=False)
        client.push({"starcoder": {"enabled": True}})
        assert client.stays(enabled=False)
        client.answer = None
        client.push(None)
        while not client.pending:
            client.is_enabled()
        client.answer = {"result": [{"enabled": True}]}
        client.push(None)
        assert client.becomes(enabled=True)
        client.answer_late([OFF])  # to the question before
        assert client.stays(enabled=True)
