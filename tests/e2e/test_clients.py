"""What clients other than VS Code and Neovim send, as their users have reported it."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.client import scripted
from tests.raw_client import RawClient, RawProcess, frame, raw_process

CODE = "def add(a, b):\n    return a + b\n"
URI = "file:///w/x.py"
SERVER = scripted("total + 1\n")


def open_document(client: RawClient, text: str, uri: str = URI, language: str = "python") -> None:
    item = {"uri": uri, "languageId": language, "version": 1, "text": text}
    client.notify("textDocument/didOpen", {"textDocument": item})


def suggestion(client: RawClient, line: int, character: int, uri: str = URI) -> Any:
    """Return the text of the first suggestion, or the answer if there is none."""
    answer = client.request(
        "textDocument/inlineCompletion",
        {
            "textDocument": {"uri": uri},
            "position": {"line": line, "character": character},
            "context": {"triggerKind": 1},
        },
    )
    items = (answer.get("result") or {}).get("items")
    return items[0]["insertText"] if items else answer


def popups(client: RawClient) -> list[str]:
    return [
        message["params"]["message"]
        for message in client.messages
        if message.get("method") == "window/showMessage"
    ]


@pytest.mark.parametrize(
    "folders",
    [
        {},
        {"rootUri": None, "rootPath": None, "workspaceFolders": None},
        {"workspaceFolders": []},
        {"rootUri": None, "rootPath": ""},
        {"rootUri": ""},
    ],
    ids=str,
)
def test_a_client_without_folders(folders: dict[str, Any]) -> None:
    with raw_process(SERVER) as client:
        parameters = {"processId": None, "capabilities": {}, **folders}
        assert "result" in client.request("initialize", parameters)
        client.notify("initialized", {})
        open_document(client, "x = ")
        assert suggestion(client, 0, 4) == "total + 1"


def test_changes_of_folders_that_change_nothing(tmp_path: Path) -> None:
    folder = {"uri": tmp_path.as_uri(), "name": "t"}
    with_slash = {"uri": tmp_path.as_uri() + "/", "name": "t"}
    virtual = {"uri": "vscode-vfs://github/a/b", "name": "b"}
    events = [([], []), ([folder], []), ([folder], []), ([], [virtual]), ([with_slash], [folder])]
    with raw_process(SERVER) as client:
        client.initialize()
        open_document(client, "x = ")
        for added, removed in [*events, ([virtual], []), ([], [with_slash])]:
            event = {"added": added, "removed": removed}
            client.notify("workspace/didChangeWorkspaceFolders", {"event": event})
            assert suggestion(client, 0, 4) == "total + 1"
        assert popups(client) == []


@pytest.mark.parametrize("options", [None, [], {}, "", 0, False, {"starcoder": {}}], ids=repr)
def test_unusual_initialization_options(options: Any) -> None:
    with raw_process(SERVER) as client:
        assert "result" in client.initialize(options)
        open_document(client, "x = ")
        assert suggestion(client, 0, 4) == "total + 1"


@pytest.mark.parametrize(
    "answer",
    [
        None,
        {"error": {"code": -32601, "message": "not known"}},
        {"result": None},
        {"result": []},
        {"result": [None]},
        {"result": [{"eagerness": None}]},
    ],
    ids=repr,
)
def test_a_client_that_does_not_answer_with_settings(answer: dict[str, Any] | None) -> None:
    workspace = {"configuration": True, "didChangeConfiguration": {"dynamicRegistration": True}}
    with raw_process(SERVER, answer=lambda _: answer) as client:
        client.initialize(workspace=workspace, window={"workDoneProgress": True})
        open_document(client, "x = ")
        begin = time.monotonic()
        assert suggestion(client, 0, 4) == "total + 1"
        assert time.monotonic() - begin < 5
        assert popups(client) == []


def test_a_rename_whose_new_name_is_opened_first() -> None:
    new = "file:///w/new.py"
    with raw_process(SERVER) as client:
        client.initialize()
        open_document(client, "x = ")
        open_document(client, "x = ", new)
        client.notify("textDocument/didClose", {"textDocument": {"uri": URI}})
        client.notify("textDocument/didClose", {"textDocument": {"uri": URI}})
        assert suggestion(client, 0, 4, new) == "total + 1"
        open_document(client, "another = 1\nx = ")  # the old name is used again, and opened twice
        open_document(client, "third = 1\nx = ")
        assert suggestion(client, 1, 4) == "total + 1"
        assert "third" in client.request("test/requests", {})["result"]["texts"][-1]
        assert popups(client) == []


def test_changes_of_a_document_that_is_not_open() -> None:
    at_start = {"line": 0, "character": 0}
    changes: list[dict[str, Any]] = [
        {"text": "x = "},
        {"range": {"start": at_start, "end": at_start}, "text": "a"},
    ]
    with raw_process(SERVER) as client:
        client.initialize()
        identifier = {"uri": URI, "version": 2}
        for _ in range(2):
            for change in changes:
                parameters = {"textDocument": identifier, "contentChanges": [change]}
                client.notify("textDocument/didChange", parameters)
            client.notify("textDocument/didSave", {"textDocument": {"uri": URI}})
            open_document(client, "y = ")
            assert suggestion(client, 0, 4) == "total + 1"
            client.notify("textDocument/didClose", {"textDocument": {"uri": URI}})
        assert popups(client) == []


@pytest.mark.parametrize("character", ["6", "1000000", "2147483647", "2147483648", "-1", "1.8e308"])
def test_a_position_that_no_document_has(character: str) -> None:
    """A position inside a character or after the text is clamped; other numbers are errors."""
    with raw_process(SERVER) as client:
        client.initialize()
        open_document(client, "s = '\N{RABBIT FACE}'; x = \n")
        body = json.dumps(
            {
                "jsonrpc": "2.0",
                "id": "odd",
                "method": "textDocument/inlineCompletion",
                "params": {
                    "textDocument": {"uri": URI},
                    "position": {"line": 0, "character": "CHARACTER"},
                    "context": {"triggerKind": 1},
                },
            }
        ).replace('"CHARACTER"', character)
        client.send_bytes(b"Content-Length: %d\r\n\r\n%s" % (len(body), body.encode()))
        answer = client.wait_for("odd")
        assert "result" in answer or answer["error"]["code"] == -32602
        assert suggestion(client, 0, 14) == "total + 1"


@pytest.mark.parametrize("language", ["Python", "python-ts", "source.python", "py", ""])
def test_the_names_that_editors_give_to_a_language(language: str) -> None:
    with raw_process(scripted('Add two numbers."""\n')) as client:
        client.initialize()
        open_document(client, CODE, language=language)
        cursor = {"line": 0, "character": 5}
        task = {"task": "document", "uri": URI, "range": {"start": cursor, "end": cursor}}
        answer = client.request("starcoder/task", task)
        assert '"""Add two numbers."""' in json.dumps(answer["result"]["edit"]).replace("\\", "")


ENDS: dict[str, Callable[[RawProcess], object]] = {
    "end of file": lambda client: client.close_input(),
    "exit without shutdown": lambda client: client.notify("exit"),
    "shutdown and end of file": lambda client: (client.request("shutdown"), client.close_input()),
    "shutdown and SIGTERM": lambda client: (
        client.request("shutdown"),
        client.process.send_signal(signal.SIGTERM),
    ),
    "SIGHUP": lambda client: client.process.send_signal(signal.SIGHUP),
}


@pytest.mark.parametrize("end", ENDS)
def test_the_server_ends_with_its_client_during_a_request(end: str) -> None:
    with raw_process(scripted("slow " * 300, 0.05)) as client:
        client.initialize()
        open_document(client, "x = ")
        parameters = {
            "textDocument": {"uri": URI},
            "position": {"line": 0, "character": 4},
            "context": {"triggerKind": 1},
        }
        method = "textDocument/inlineCompletion"
        client.send({"jsonrpc": "2.0", "id": 7, "method": method, "params": parameters})
        while not client.request("test/requests", {})["result"]["texts"]:
            time.sleep(0.02)
        ENDS[end](client)
        client.process.wait(10)


def test_headers_in_another_order_and_messages_in_small_pieces() -> None:
    with raw_process(SERVER) as client:
        client.initialize()
        item = {"uri": URI, "languageId": "python", "version": 1, "text": "s = 'ü🎉'; x = "}
        opening = {"jsonrpc": "2.0", "method": "textDocument/didOpen"}
        data = frame({**opening, "params": {"textDocument": item}})
        for start in range(0, len(data), 3):
            client.send_bytes(data[start : start + 3])
        assert suggestion(client, 0, 15) == "total + 1"
        body = b'{"jsonrpc": "2.0", "id": "k", "method": "test/requests", "params": {}}'
        kind = b"Content-Type: application/vscode-jsonrpc; charset=utf8\r\n"
        client.send_bytes(kind + b"content-length: %d\r\n\r\n%s" % (len(body), body))
        assert client.wait_for("k")["result"]["texts"]


def test_a_document_is_changed_and_closed_in_another_spelling_of_its_uri() -> None:
    with raw_process(SERVER) as client:
        client.initialize()
        open_document(client, "y = (1)", "file:///C:/p%20q/a.py")
        other = "file:///c%3A/p q/a.py"
        document = {"uri": other, "version": 2}
        changes = {"textDocument": document, "contentChanges": [{"text": "\n\nx = "}]}
        client.notify("textDocument/didChange", changes)
        assert suggestion(client, 2, 4, other) == "total + 1"
        client.notify("textDocument/didClose", {"textDocument": {"uri": other}})
        assert "is not open" in str(suggestion(client, 0, 0, "file:///C:/p%20q/a.py"))


NOTEBOOK = "file:///w/a.ipynb"
CELL = "vscode-notebook-cell:/w/a.ipynb#W0sZmlsZQ%3D%3D"


def open_notebook(client: RawClient) -> None:
    cells = [{"kind": 1, "document": CELL}]
    notebook = {"uri": NOTEBOOK, "notebookType": "jupyter-notebook", "version": 1, "cells": cells}
    item = {"uri": CELL, "languageId": "markdown", "version": 1, "text": "# Title"}
    client.notify(
        "notebookDocument/didOpen", {"notebookDocument": notebook, "cellTextDocuments": [item]}
    )


def change_notebook(client: RawClient, cells: dict[str, Any]) -> None:
    document = {"uri": NOTEBOOK, "version": 2}
    change = {"notebookDocument": document, "change": {"cells": cells}}
    client.notify("notebookDocument/didChange", change)


def test_a_cell_that_becomes_code_is_closed_and_opened_in_one_change() -> None:
    with raw_process(SERVER) as client:
        client.initialize()
        open_notebook(client)
        array = {"start": 0, "deleteCount": 1, "cells": [{"kind": 2, "document": CELL}]}
        item = {"uri": CELL, "languageId": "python", "version": 1, "text": "x = "}
        structure = {"array": array, "didOpen": [item], "didClose": [{"uri": CELL}]}
        change_notebook(client, {"structure": structure})
        assert suggestion(client, 0, 4, CELL) == "total + 1"


def test_changes_of_a_notebook_that_is_not_open_are_ignored() -> None:
    with raw_process(SERVER) as client:
        client.initialize()
        text = [{"document": {"uri": CELL, "version": 2}, "changes": [{"text": "x = "}]}]
        change_notebook(client, {"textContent": text})
        open_notebook(client)
        closed = {"notebookDocument": {"uri": NOTEBOOK}, "cellTextDocuments": [{"uri": CELL}]}
        for _ in range(2):
            client.notify("notebookDocument/didClose", closed)
        change_notebook(client, {"textContent": text})
        open_document(client, "x = ")
        assert suggestion(client, 0, 4) == "total + 1"
        assert popups(client) == []
