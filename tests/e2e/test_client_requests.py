"""Our requests to the client: late, wrong, cancelled and missing answers show no message."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from tests.e2e.client import scripted
from tests.raw_client import RawProcess, raw_process

URI = "file:///work-space/a.py"
POSITION = {"line": 0, "character": 4}
ANSWERS: dict[str, Any] = {
    "immediately": {"result": None},
    "wrong": {"result": 5},
    "an object": {"result": {"x": 1}},
    "an error": {"error": {"code": -32803, "message": "no"}},
    "no error": {"error": None},
    "empty": {},
    "never": None,
}
CAPABILITIES: dict[str, Any] = {
    "window": {"workDoneProgress": True},
    "workspace": {
        "configuration": True,
        "didChangeConfiguration": {"dynamicRegistration": True},
        "applyEdit": True,
        "workspaceEdit": {"documentChanges": True},
    },
}
REQUESTS = {
    "window/workDoneProgress/create",
    "workspace/configuration",
    "client/registerCapability",
    "workspace/applyEdit",
}


def run_edit(client: RawProcess, id_: Any) -> None:
    """Send a command that asks for progress and then for an edit."""
    argument = {
        "task": "edit",
        "uri": URI,
        "range": {"start": POSITION, "end": POSITION},
        "instruction": "Add.",
    }
    params = {"command": "starcoder.task", "arguments": [argument]}
    client.send(
        {"jsonrpc": "2.0", "id": id_, "method": "workspace/executeCommand", "params": params}
    )


def initialize(client: RawProcess) -> None:
    client.initialize({"eagerness": "eager"}, **CAPABILITIES)
    document = {"uri": URI, "languageId": "python", "version": 1, "text": "x = 1\n"}
    client.notify("textDocument/didOpen", {"textDocument": document})


def shown(client: RawProcess) -> list[dict[str, Any]]:
    return [
        each["params"] for each in client.messages if each.get("method") == "window/showMessage"
    ]


def test_all_requests_to_the_client_are_tried_here() -> None:
    seen: set[str] = set()

    def answer(request: dict[str, Any]) -> Any:
        seen.add(request["method"])
        applied = request["method"] == "workspace/applyEdit"
        return {"result": {"applied": True} if applied else None}

    with raw_process(scripted("y = 2"), answer=answer) as client:
        initialize(client)
        run_edit(client, 1)
        assert client.wait_for(1)["result"]["applied"]
        assert seen == REQUESTS


@pytest.mark.parametrize("kind", ANSWERS)
@pytest.mark.parametrize("method", sorted(REQUESTS))
def test_a_useless_answer_shows_no_internal_error(method: str, kind: str) -> None:
    def answer(request: dict[str, Any]) -> Any:
        if request["method"] == method:
            return ANSWERS[kind]
        applied = request["method"] == "workspace/applyEdit"
        return {"result": {"applied": True} if applied else None}

    with raw_process(scripted("y = 2"), answer=answer) as client:
        initialize(client)
        run_edit(client, 1)
        if (method, kind) == ("workspace/applyEdit", "never"):
            time.sleep(1.0)
            client.notify("$/cancelRequest", {"id": 1})
        result = client.wait_for(1)["result"]
        if method == "workspace/applyEdit":
            assert result["applied"] is False
            assert {each["message"] for each in shown(client)} <= {
                "The editor did not apply the edit."
            }
        else:
            assert result["applied"] is True
            assert shown(client) == []


@pytest.mark.parametrize("delay_s", [0.0, 0.02, 0.1, 0.5])
def test_a_late_answer_shows_nothing(delay_s: float) -> None:
    """The engine is ready before the client has created the progress."""

    def answer(request: dict[str, Any]) -> None:
        applied = request["method"] == "workspace/applyEdit"
        result = {"applied": True} if applied else None
        response = {"jsonrpc": "2.0", "id": request["id"], "result": result}
        threading.Timer(delay_s, client.send, [response]).start()

    with raw_process(scripted("y = 2"), answer=answer) as client:
        initialize(client)
        for number in range(3):
            run_edit(client, number)
        client.notify("$/cancelRequest", {"id": 1})
        for number in range(3):
            client.wait_for(number)
        time.sleep(2 * delay_s)
        assert "result" in client.request("starcoder/debugInfo")
        assert shown(client) == []


def test_answers_to_unknown_and_answered_requests_are_ignored() -> None:
    ids: list[Any] = []

    def answer(request: dict[str, Any]) -> Any:
        ids.append(request["id"])
        return {"result": None}

    with raw_process(scripted("1"), answer=answer) as client:
        initialize(client)
        assert "result" in client.request("starcoder/debugInfo")
        for id_ in (*ids, "unknown", 99, None):
            client.send({"jsonrpc": "2.0", "id": id_, "result": 5})
            client.send({"jsonrpc": "2.0", "id": id_, "error": {"code": 1, "message": "x"}})
        assert "result" in client.request("starcoder/debugInfo")
        assert shown(client) == []
