"""JSON-RPC 2.0 and the life of a session as LSP 3.18 defines them, over a real server's stdio."""

from __future__ import annotations

import json
import string
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.client import scripted
from tests.raw_client import RawProcess, frame_body, raw_process

MARKER = "Zanzibar"
"""Text that a message contains and no error message may repeat."""
URI = "file:///example.py"
POSITION = {"line": 0, "character": 0}
COMPLETION = {
    "textDocument": {"uri": URI},
    "position": POSITION,
    "context": {"triggerKind": 2},
}
RANGE = {"start": POSITION, "end": POSITION}


@pytest.fixture(scope="module")
def shared() -> Iterator[RawProcess]:
    """An initialized server that the tests of one module share."""
    with raw_process(scripted("1")) as client:
        client.initialize()
        yield client


@pytest.fixture
def client() -> Iterator[RawProcess]:
    with raw_process(scripted(string.ascii_letters * 40, 0.01)) as client:
        yield client


def code_of(answer: dict[str, Any]) -> int | None:
    return answer["error"]["code"] if "error" in answer else None


def assert_alive(client: RawProcess) -> None:
    assert "result" in client.request("starcoder/chat/commands")


WRONG_PARAMETERS = [
    ("textDocument/inlineCompletion", {}, "context"),
    ("textDocument/inlineCompletion", {**COMPLETION, "position": MARKER}, "position"),
    ("textDocument/inlineCompletion", {**COMPLETION, "textDocument": {"uri": 5}}, "uri"),
    (
        "textDocument/inlineCompletion",
        {**COMPLETION, "position": {"line": -1, "character": 0}},
        "position",
    ),
    (
        "textDocument/inlineCompletion",
        {**COMPLETION, "position": {"line": 0, "character": MARKER}},
        "position.character",
    ),
    ("textDocument/inlineCompletion", {**COMPLETION, "context": {"triggerKind": MARKER}}, "Kind"),
    ("textDocument/inlineCompletion", MARKER, "params"),
    ("textDocument/inlineCompletion", 5, "params"),
    ("textDocument/inlineCompletion", True, "params"),
    ("textDocument/completion", {"textDocument": {"uri": URI}}, "position"),
    ("textDocument/codeAction", {"textDocument": {"uri": URI}, "range": MARKER}, "range"),
    ("textDocument/codeAction", {"textDocument": {"uri": URI}, "range": RANGE}, "context"),
    ("workspace/executeCommand", {}, "command"),
    ("workspace/executeCommand", {"command": [MARKER]}, "command"),
    ("workspace/executeCommand", {"command": "starcoder.task", "arguments": 5}, "arguments"),
    ("workspace/executeCommand", {"command": "starcoder.task"}, "task"),
    ("workspace/executeCommand", {"command": "starcoder.task", "arguments": [MARKER]}, "params"),
    (
        "workspace/executeCommand",
        {"command": "starcoder.task", "arguments": [{"task": "edit", "instruction": [MARKER]}]},
        "uri",
    ),
    ("workspace/executeCommand", {"command": MARKER}, "command"),
    ("starcoder/chat/get", {}, "conversation"),
    ("starcoder/chat/get", {"conversation": {MARKER: MARKER}}, "conversation"),
    ("starcoder/chat/get", [MARKER], "params"),
    ("starcoder/chat/send", {"conversation": "x", "text": 5}, "text"),
    ("starcoder/chat/attach", {"attachments": MARKER}, "attachments"),
    ("starcoder/task", {"task": MARKER, "uri": URI, "range": RANGE}, "task"),
    (
        "starcoder/task",
        {
            "task": "fix",
            "uri": URI,
            "range": {"start": {"line": -1, "character": 0}, "end": POSITION},
        },
        "range.start.line",
    ),
    ("starcoder/commitMessage", {"uri": 5}, "uri"),
]


@pytest.mark.parametrize(("method", "params", "member"), WRONG_PARAMETERS)
def test_wrong_parameters_are_answered_with_the_name_of_the_member(
    shared: RawProcess, method: str, params: Any, member: str
) -> None:
    answer = shared.request(method, params)
    assert code_of(answer) == -32602
    message = answer["error"]["message"]
    assert member in message
    assert message.endswith(".")
    assert MARKER not in message


@pytest.mark.parametrize("params", [{"uri": URI}, [], {"textDocument": 5}])
def test_what_is_not_registered_is_an_unknown_method(shared: RawProcess, params: Any) -> None:
    for method in ("textDocument/hover", "starcoder/nothing", "$/nothing", MARKER, ""):
        answer = shared.request(method, params)
        assert code_of(answer) == -32601
        assert MARKER not in answer["error"]["message"]


def test_a_notification_with_an_id_is_refused(shared: RawProcess) -> None:
    for method in ("textDocument/didOpen", "initialized", "$/cancelRequest", "exit"):
        assert code_of(shared.request(method, {})) == -32600
    assert_alive(shared)


@pytest.mark.parametrize(
    ("body", "code", "id_"),
    [
        (b"{", -32700, None),
        (b"\xff\xfe", -32700, None),
        (b'{"jsonrpc": "2.0", "id": 5, "method": NaN}', -32700, None),
        (b"[" * 100_000, -32700, None),
        (b'{"a":' * 150 + b"1" + b"}" * 150, -32700, None),
        (b"9" * 10_000, -32700, None),
        (b"[]", -32600, None),
        (b'[{"jsonrpc": "2.0", "id": 5, "method": "shutdown"}]', -32600, None),
        (b"null", -32600, None),
        (b'"text"', -32600, None),
        (b"{}", -32600, None),
        (b'{"jsonrpc": "1.0", "id": 5, "method": "shutdown"}', -32600, 5),
        (b'{"id": "a", "method": "shutdown"}', -32600, "a"),
        (b'{"jsonrpc": "2.0", "id": 5, "method": 7}', -32600, 5),
        (b'{"jsonrpc": "2.0", "id": 5, "method": null}', -32600, 5),
        (b'{"jsonrpc": "2.0", "method": 7}', -32600, None),
        (b'{"jsonrpc": "2.0", "id": null, "method": "shutdown"}', -32600, None),
        (b'{"jsonrpc": "2.0", "id": [5], "method": "shutdown"}', -32600, None),
        (b'{"jsonrpc": "2.0", "id": true, "method": "shutdown"}', -32600, None),
        (b'{"jsonrpc": "2.0", "id": 1.5, "method": "shutdown"}', -32600, None),
        (b'{"jsonrpc": "2.0", "id": 6.0, "method": "nothing"}', -32601, 6),
    ],
)
def test_what_is_not_a_request_gets_one_error(
    shared: RawProcess, body: bytes, code: int, id_: Any
) -> None:
    num_before = len(shared.messages)
    shared.send_bytes(frame_body(body))
    answer = shared.next_answer()
    assert (code_of(answer), answer["id"]) == (code, id_)
    assert_alive(shared)
    assert len([each for each in shared.messages[num_before:] if "id" in each]) == 2


@pytest.mark.parametrize(
    "message",
    [
        {"jsonrpc": "1.0", "method": "textDocument/didOpen", "params": {}},
        {"jsonrpc": "2.0", "method": "nothing"},
        {"jsonrpc": "2.0", "method": "textDocument/didOpen", "params": 5},
        {"jsonrpc": "2.0", "method": "textDocument/didChange", "params": {"a": MARKER}},
        {"jsonrpc": "2.0", "method": "textDocument/inlineCompletion", "params": COMPLETION},
        {"jsonrpc": "2.0", "method": "starcoder/chat/clear"},
        {"jsonrpc": "2.0", "method": "shutdown"},
        {"jsonrpc": "2.0", "method": "$/cancelRequest"},
        {"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": 77}},
        {"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": "77"}},
        {"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": None}},
        {"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": [1]}},
        {"jsonrpc": "2.0", "id": 99, "result": None},
        {"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": MARKER}},
        {"jsonrpc": "2.0", "id": 99, "error": MARKER},
        {"jsonrpc": "2.0", "id": 99},
    ],
)
def test_notifications_and_responses_are_never_answered(
    shared: RawProcess, message: dict[str, Any]
) -> None:
    num_before = len(shared.messages)
    shared.send(message)
    assert_alive(shared)
    assert len([each for each in shared.messages[num_before:] if "id" in each]) == 1


def test_before_initialize_requests_wait_and_notifications_are_dropped(client: RawProcess) -> None:
    document = {"uri": URI, "languageId": "python", "version": 1, "text": "x"}
    client.notify("textDocument/didOpen", {"textDocument": document})
    for method in ("textDocument/inlineCompletion", "starcoder/debugInfo", "shutdown", "nothing"):
        assert code_of(client.request(method, {})) == -32002
    assert code_of(client.request("initialize", {"capabilities": MARKER})) == -32602
    assert "result" in client.initialize()
    assert client.request("starcoder/debugInfo")["result"]["documents"] == []
    assert code_of(client.request("initialize", {"processId": None, "capabilities": {}})) == -32600


def test_after_shutdown_all_requests_are_refused(client: RawProcess) -> None:
    client.initialize()
    assert client.request("shutdown") == {"jsonrpc": "2.0", "id": "request 2", "result": None}
    for method in ("textDocument/inlineCompletion", "shutdown", "initialize", "nothing"):
        assert code_of(client.request(method, {})) == -32600
    client.notify("exit")
    assert client.wait() == 0


@pytest.mark.parametrize("is_initialized", [False, True])
def test_exit_without_shutdown_is_a_failure(client: RawProcess, is_initialized: bool) -> None:
    if is_initialized:
        client.initialize()
    client.notify("exit")
    assert client.wait() == 1


@pytest.mark.parametrize("has_shutdown", [False, True])
def test_the_end_of_stdin_ends_the_server(client: RawProcess, has_shutdown: bool) -> None:
    client.initialize()
    if has_shutdown:
        client.request("shutdown")
    client.close_input()
    assert client.wait() == (0 if has_shutdown else 1)


def start_chat(client: RawProcess, *ids: Any) -> None:
    """Send requests whose answers take 20 seconds."""
    conversation = client.request("starcoder/chat/create")["result"]["id"]
    for id_ in ids:
        params = {"conversation": conversation, "text": "Go", "partialResultToken": "t"}
        client.send(
            {"jsonrpc": "2.0", "id": id_, "method": "starcoder/chat/send", "params": params}
        )


@pytest.mark.parametrize(("id_", "other"), [(1, "1"), ("1", 1)])
def test_a_number_and_a_string_are_different_ids(
    client: RawProcess, id_: str | int, other: str | int
) -> None:
    client.initialize()
    start_chat(client, id_)
    client.notify("$/cancelRequest", {"id": other})
    assert_alive(client)
    assert [each for each in client.messages if each.get("id") == id_] == []
    client.notify("$/cancelRequest", {"id": id_})
    assert code_of(client.wait_for(id_)) == -32800


def test_the_id_of_a_running_request_cannot_be_used_again(client: RawProcess) -> None:
    client.initialize()
    start_chat(client, 1, 1)
    assert code_of(client.wait_for(1)) == -32600
    client.messages.clear()
    # A client's response does not end a request of the client.
    client.send({"jsonrpc": "2.0", "id": 1, "result": None})
    client.notify("$/cancelRequest", {"id": 1})
    assert code_of(client.wait_for(1)) == -32800
    # It is free again.
    client.send({"jsonrpc": "2.0", "id": 1, "method": "starcoder/chat/commands"})
    client.messages.clear()
    assert "result" in client.wait_for(1)


def test_requests_in_flight_are_answered_at_shutdown(client: RawProcess) -> None:
    client.initialize()
    start_chat(client, "a")
    document = {"uri": URI, "languageId": "python", "version": 1, "text": "def f():\n    pass\n"}
    client.notify("textDocument/didOpen", {"textDocument": document})
    argument = {"task": "explain", "uri": URI, "range": RANGE}
    command = {"command": "starcoder.task", "arguments": [argument]}
    client.send(
        {"jsonrpc": "2.0", "id": "b", "method": "workspace/executeCommand", "params": command}
    )
    assert_alive(client)
    assert client.request("shutdown")["result"] is None
    assert code_of(client.wait_for("a")) == -32800
    # A cancelled command says so in its result.
    assert client.wait_for("b").get("result") == {"applied": False, "note": "cancelled"}
    assert len([each for each in client.messages if each.get("id") in ("a", "b")]) == 2


def test_a_cancelled_command_changes_nothing(client: RawProcess) -> None:
    edits: list[Any] = []

    def answer(request: dict[str, Any]) -> Any:
        edits.append(request["method"])
        return {"result": {"applied": True}}

    client.answer = answer
    client.initialize()
    document = {"uri": URI, "languageId": "python", "version": 1, "text": "x = 1\n"}
    client.notify("textDocument/didOpen", {"textDocument": document})
    argument = {"task": "edit", "uri": URI, "range": RANGE, "instruction": "Add a line."}
    params = {"command": "starcoder.task", "arguments": [argument]}
    client.send({"jsonrpc": "2.0", "id": 1, "method": "workspace/executeCommand", "params": params})
    deadline = time.monotonic() + 20
    while client.request("test/requests")["result"]["tokensWritten"] == 0:
        assert time.monotonic() < deadline
    client.notify("$/cancelRequest", {"id": 1})
    client.wait_for(1)
    assert client.request("test/requests")["result"]["stoppedEarly"] == 1
    assert "workspace/applyEdit" not in edits


def test_a_late_answer_to_a_cancelled_request_is_ignored() -> None:
    """The engine is ready before the client has created the progress bar."""
    requests: list[dict[str, Any]] = []

    def remember(request: dict[str, Any]) -> None:
        requests.append(request)

    with raw_process(scripted("1"), answer=remember) as client:
        client.initialize(window={"workDoneProgress": True})
        argument = {"task": "explain", "uri": URI, "range": RANGE}
        params = {"command": "starcoder.task", "arguments": [argument]}
        client.send(
            {"jsonrpc": "2.0", "id": 1, "method": "workspace/executeCommand", "params": params}
        )
        assert_alive(client)
        client.notify("$/cancelRequest", {"id": 1})
        client.wait_for(1)
        assert requests
        for request in requests:
            client.send({"jsonrpc": "2.0", "id": request["id"], "result": None})
        assert_alive(client)
        assert "window/showMessage" not in [each.get("method") for each in client.messages]


@pytest.mark.parametrize(
    "answer",
    [
        {"result": MARKER},
        {"result": 5},
        {"error": MARKER},
        {"error": {"code": 1, "message": 2}},
        {},
    ],
)
def test_a_wrong_answer_of_the_client_does_not_stop_the_server(answer: dict[str, Any]) -> None:
    with raw_process(scripted("1"), answer=lambda _: answer) as client:
        client.initialize(workspace={"configuration": True})
        while not any(
            each.get("params", {}).get("state") == "ready"
            for each in client.messages
            if each.get("method") == "starcoder/status"
        ):
            assert_alive(client)
        assert MARKER not in json.dumps(client.messages)
        assert MARKER not in client.log


@pytest.mark.parametrize(
    ("failure", "code", "message"),
    [
        ("plain", -32803, "The disk is full: delete something."),
        ("request", -32602, "The disk is full: delete something."),
        (
            "unexpected",
            -32603,
            "The language server failed to handle this; its log has the details.",
        ),
    ],
)
def test_errors_for_the_user_arrive_as_their_sentence(
    shared: RawProcess, failure: str, code: int, message: str
) -> None:
    answer = shared.request("test/fail", {"how": failure})
    assert answer["error"] == {"code": code, "message": message}


@pytest.mark.parametrize("severity", [1, 4, 9])
def test_a_fix_names_the_diagnostic_with_all_its_members(shared: RawProcess, severity: int) -> None:
    """Editors send more than a message, and a later LSP may have more severities and tags."""
    diagnostic = {
        "range": RANGE,
        "message": "undefined y",
        "severity": severity,
        "code": "E1",
        "source": "checker",
        "tags": [1, 7],
        "data": {"id": 3},
    }
    document = {"uri": URI, "languageId": "python", "version": 1, "text": "y\n"}
    shared.notify("textDocument/didOpen", {"textDocument": document})
    params = {
        "textDocument": {"uri": URI},
        "range": RANGE,
        "context": {"diagnostics": [diagnostic], "triggerKind": 2},
    }
    actions = shared.request("textDocument/codeAction", params)["result"]
    shared.notify("textDocument/didClose", {"textDocument": {"uri": URI}})
    assert [action["title"] for action in actions] == ["Fix with StarCoder: undefined y"]
    assert actions[0]["diagnostics"] == [diagnostic]
