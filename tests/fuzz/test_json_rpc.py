"""Random messages: each request gets exactly one answer, and the server stays alive."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.e2e.client import scripted
from tests.fuzz.conftest import FUZZING
from tests.raw_client import RawProcess, frame_body, raw_process

URIS = ("file:///a.py", "file:///b%20c.py", "untitled:1", "file:///a%00b", "x", "", "file://[", "%")
COMMANDS = ("starcoder.accepted", "starcoder.task", "none")
CODES = {-32602, -32803, -32800, -32600}
"""The codes with which a known method may fail. Not -32603, which means an unexpected exception."""

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 2**40), st.floats(), st.text(max_size=8)
)
json_values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
uris = st.sampled_from(URIS)
positions = st.fixed_dictionaries({"line": st.integers(0, 9), "character": st.integers(0, 9)})
ranges = st.fixed_dictionaries({"start": positions, "end": positions})
documents = st.fixed_dictionaries({"uri": uris})
short_texts = st.text(max_size=20)
conversations = st.fixed_dictionaries({"conversation": st.sampled_from(["none", ""])})
tasks = st.fixed_dictionaries(
    {
        "task": st.sampled_from(
            ["tests", "explain", "document", "fix", "edit", "translate", "review"]
        ),
        "uri": uris,
        "range": ranges,
        "instruction": short_texts,
    }
)
changes = st.one_of(
    st.fixed_dictionaries({"text": short_texts}),
    st.fixed_dictionaries({"text": short_texts, "range": ranges}),
)
versioned = st.fixed_dictionaries({"uri": uris, "version": st.integers(0, 9)})

REQUESTS: dict[str, st.SearchStrategy[Any]] = {
    "textDocument/inlineCompletion": st.fixed_dictionaries(
        {
            "textDocument": documents,
            "position": positions,
            "context": st.fixed_dictionaries({"triggerKind": st.sampled_from([1, 2])}),
        }
    ),
    "textDocument/completion": st.fixed_dictionaries(
        {"textDocument": documents, "position": positions}
    ),
    "textDocument/codeAction": st.fixed_dictionaries(
        {
            "textDocument": documents,
            "range": ranges,
            "context": st.just({"diagnostics": []}),
        }
    ),
    "workspace/executeCommand": st.fixed_dictionaries(
        {
            "command": st.sampled_from(COMMANDS),
            "arguments": st.lists(st.one_of(tasks, json_values), max_size=2),
        }
    ),
    "starcoder/task": tasks,
    "starcoder/commitMessage": st.just({"uri": "file:///no/such/folder"}),
    "starcoder/debugInfo": st.just({}),
    "starcoder/chat/create": st.just(None),
    "starcoder/chat/list": st.fixed_dictionaries({"query": short_texts}),
    "starcoder/chat/get": conversations,
    "starcoder/chat/send": st.fixed_dictionaries(
        {
            "conversation": st.just("none"),
            "text": st.one_of(short_texts, st.sampled_from(["/fix", "@a.py", "/tests @b"])),
            "uri": uris,
            "range": ranges,
        }
    ),
    "starcoder/chat/retry": conversations,
    "starcoder/chat/continue": conversations,
    "starcoder/chat/rename": st.fixed_dictionaries(
        {"conversation": st.just("none"), "title": short_texts}
    ),
    "starcoder/chat/model": st.just({}),
    "starcoder/chat/edit": st.fixed_dictionaries(
        {"conversation": st.just("none"), "turn": short_texts, "text": short_texts}
    ),
    "starcoder/chat/stop": conversations,
    "starcoder/chat/delete": conversations,
    "starcoder/chat/export": conversations,
    "starcoder/chat/attach": st.fixed_dictionaries(
        {
            "attachments": st.lists(
                st.fixed_dictionaries(
                    {"kind": st.sampled_from(["file", "selection"]), "uri": uris, "range": ranges}
                ),
                max_size=2,
            )
        }
    ),
    "starcoder/chat/commands": st.just({}),
    "textDocument/hover": st.just({}),
    "nothing": json_values,
}
NOTIFICATIONS: dict[str, st.SearchStrategy[Any]] = {
    "textDocument/didOpen": st.fixed_dictionaries(
        {
            "textDocument": st.fixed_dictionaries(
                {
                    "uri": uris,
                    "languageId": st.just("python"),
                    "version": st.just(0),
                    "text": short_texts,
                }
            )
        }
    ),
    "textDocument/didChange": st.fixed_dictionaries(
        {"textDocument": versioned, "contentChanges": st.lists(changes, max_size=3)}
    ),
    "textDocument/didClose": st.fixed_dictionaries({"textDocument": documents}),
    "$/setTrace": st.just({"value": "verbose"}),
    "$/cancelRequest": st.fixed_dictionaries({"id": st.integers(0, 50)}),
    "window/workDoneProgress/cancel": st.fixed_dictionaries({"token": short_texts}),
    "workspace/didChangeWorkspaceFolders": st.fixed_dictionaries(
        {
            "event": st.fixed_dictionaries(
                {
                    "added": st.lists(
                        st.fixed_dictionaries({"uri": uris, "name": short_texts}), max_size=2
                    ),
                    "removed": st.lists(
                        st.fixed_dictionaries({"uri": uris, "name": short_texts}), max_size=2
                    ),
                }
            )
        }
    ),
    "nothing": json_values,
}


@st.composite
def damaged(draw: st.DrawFn, valid: st.SearchStrategy[Any]) -> Any:
    """Return valid parameters in which one value, at any depth, may be replaced by any other."""
    params = deepcopy(draw(valid))  # `st.just` returns the same object each time
    if draw(st.booleans()):
        return params
    if not isinstance(params, dict | list):
        return draw(json_values)
    value = params
    while True:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not keys:
            return draw(json_values)
        key = draw(st.sampled_from(keys))
        inner = value[key]
        if isinstance(inner, dict | list) and inner and draw(st.booleans()):
            value = inner
        elif isinstance(value, dict) and draw(st.booleans()):
            del value[key]
            return params
        else:
            value[key] = draw(json_values)
            return params


@st.composite
def messages(draw: st.DrawFn) -> tuple[str, str, Any]:
    """Return the kind of a message, its method, and its parameters."""
    kind = draw(st.sampled_from(["request", "request", "notification"]))
    methods = REQUESTS if kind == "request" else NOTIFICATIONS
    method = draw(st.sampled_from(sorted(methods)))
    return kind, method, draw(damaged(methods[method]))


NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def client() -> Iterator[RawProcess]:
    with raw_process(scripted("x = 1")) as process:
        process.initialize({"debounceMs": 0})
        yield process


@FUZZING
@given(batch=st.lists(messages(), min_size=1, max_size=8))
def test_each_request_gets_exactly_one_answer(
    client: RawProcess, batch: list[tuple[str, str, Any]]
) -> None:
    client.messages.clear()
    methods: dict[Any, str] = {}
    for kind, method, params in batch:
        message = {"jsonrpc": "2.0", "method": method, "params": params}
        if kind == "request":
            number = next(NUMBERS)
            id_: str | int = number if number % 2 else f"id {number}"
            methods[id_] = method
            message["id"] = id_
        if _is_json(params):
            client.send(message)
        else:
            client.send_bytes(frame_body(b"{"))  # NaN is not JSON
            methods.pop(message.get("id"), None)
    for id_ in methods:
        client.wait_for(id_)
    assert "result" in client.request("starcoder/chat/commands")
    counts = Counter(each["id"] for each in client.messages if each.get("id") is not None)
    assert {id_: counts[id_] for id_ in methods} == dict.fromkeys(methods, 1)
    for answer in client.messages:
        method = methods.get(answer.get("id"), "")
        if method and "error" in answer:
            is_known = method not in ("nothing", "textDocument/hover")
            assert answer["error"]["code"] in (CODES if is_known else {-32601}), (
                method,
                answer,
                client.log[-3000:],
            )


def _is_json(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_is_json, value.values()))
    if isinstance(value, list):
        return all(map(_is_json, value))
    return not isinstance(value, float) or abs(value) < float("inf")


@FUZZING
@given(body=st.one_of(st.binary(min_size=1, max_size=200), json_values.map(ascii).map(str.encode)))
def test_any_body_leaves_the_server_alive(client: RawProcess, body: bytes) -> None:
    client.messages.clear()
    client.send_bytes(frame_body(body))
    assert "result" in client.request("starcoder/chat/commands")
    assert len([each for each in client.messages if "id" in each]) <= 2
