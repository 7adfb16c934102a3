"""No log contains text of the user: a marker is planted everywhere, and no log may have it."""

from __future__ import annotations

import json
import socket as unix_socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.e2e.client import SERVER
from tests.raw_client import RawProcess, frame_body, raw_process

MARKER = "Zanzibar"
METHODS = (
    "initialize",
    "initialized",
    "shutdown",
    "exit",
    "$/cancelRequest",
    "$/setTrace",
    "$/progress",
    "window/workDoneProgress/cancel",
    "workspace/didChangeConfiguration",
    "workspace/didChangeWorkspaceFolders",
    "workspace/executeCommand",
    "textDocument/didOpen",
    "textDocument/didChange",
    "textDocument/didClose",
    "notebookDocument/didOpen",
    "notebookDocument/didChange",
    "notebookDocument/didClose",
    "textDocument/inlineCompletion",
    "textDocument/completion",
    "textDocument/codeAction",
    "starcoder/task",
    "starcoder/commitMessage",
    "starcoder/debugInfo",
    "starcoder/chat/create",
    "starcoder/chat/list",
    "starcoder/chat/get",
    "starcoder/chat/send",
    "starcoder/chat/retry",
    "starcoder/chat/edit",
    "starcoder/chat/stop",
    "starcoder/chat/delete",
    "starcoder/chat/clear",
    "starcoder/chat/export",
    "starcoder/chat/attach",
    "starcoder/chat/commands",
    MARKER,
)
POSITION = {"line": 1, "character": 2}
RANGE = {"start": {"line": 0, "character": 0}, "end": POSITION}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / f"{MARKER} project"
    folder.mkdir()
    (folder / f"{MARKER}.py").write_text(f"{MARKER} = 1\n", encoding="utf-8")
    (folder / f"{MARKER}.bin").write_bytes(MARKER.encode() + b"\0\xff")
    return folder


@pytest.fixture
def server(project: Path, own_engines: Path, tmp_path: Path) -> Iterator[RawProcess]:
    """The real server and engine, with the lowest log level."""
    command = [*SERVER, "--log-file", str(tmp_path / "server.log")]
    environment = {"STARCODER_LSP_CHATS": str(tmp_path / "chats.sqlite3")}
    with raw_process(command, environment) as client:
        uri = project.as_uri()
        params = {
            "processId": None,
            "rootUri": uri,
            "workspaceFolders": [{"uri": uri, "name": MARKER}],
            "capabilities": {"textDocument": {}, "general": {"positionEncodings": ["utf-8"]}},
            "initializationOptions": {
                "model": "demo",
                "logLevel": "debug",
                "chatSystem": MARKER,
                "exclude": [f"{MARKER}*.key"],
                "eagerness": "eager",
                MARKER: MARKER,
                "maxNewTokens": MARKER,
            },
            "clientInfo": {"name": MARKER},
        }
        assert "result" in client.request("initialize", params)
        client.notify("initialized", {})
        yield client


def logs(tmp_path: Path, client: RawProcess) -> dict[str, str]:
    """Return what the server and all engines have logged."""
    files = [tmp_path / "server.log", *(tmp_path / "log").glob("*")]
    texts = {str(file): file.read_text(encoding="utf-8", errors="replace") for file in files}
    return {**texts, "stderr": client.log}


def use_everything(client: RawProcess, project: Path) -> None:
    """Send valid and failing requests of every kind with the marker in all texts."""
    uri = (project / f"{MARKER}.py").as_uri()
    text = f"def {MARKER}(x):\n    return {MARKER}_{MARKER}\n"
    document = {"uri": uri, "languageId": "python", "version": 1, "text": text}
    identifier = {"textDocument": {"uri": uri}}
    client.notify("textDocument/didOpen", {"textDocument": document})
    client.notify("textDocument/didChange", {"textDocument": {"uri": f"file:///{MARKER}"}})
    context = {"context": {"triggerKind": 1}, "position": POSITION}
    assert "result" in client.request("textDocument/inlineCompletion", {**identifier, **context})
    client.request("textDocument/completion", {**identifier, "position": POSITION})
    client.request(
        "textDocument/inlineCompletion",
        {"textDocument": {"uri": f"file:///{MARKER}%00"}, **context},
    )
    diagnostic = {"range": RANGE, "message": MARKER, "source": MARKER, "code": MARKER}
    client.request(
        "textDocument/codeAction",
        {**identifier, "range": RANGE, "context": {"diagnostics": [diagnostic]}},
    )
    for task in ("tests", "explain", "document", "fix", "edit", "translate", "review", MARKER):
        params = {"task": task, "uri": uri, "range": RANGE, "instruction": MARKER}
        client.request("starcoder/task", params)
        client.request("starcoder/task", {**params, "instruction": {MARKER: MARKER}})
        command = {"command": "starcoder.task", "arguments": [params]}
        client.request("workspace/executeCommand", command)
        command["arguments"] = [{**params, "uri": f"file:///{MARKER}"}]
        client.request("workspace/executeCommand", command)
    client.request("workspace/executeCommand", {"command": MARKER, "arguments": [MARKER]})
    client.request(
        "workspace/executeCommand", {"command": "starcoder.accepted", "arguments": [MARKER]}
    )
    client.request("starcoder/commitMessage", {"uri": uri, "instruction": MARKER})
    client.request("starcoder/commitMessage", {"uri": f"file:///{MARKER}/none"})
    conversation = client.request("starcoder/chat/create")["result"]["id"]
    for attached in (f"{MARKER}.py", f"{MARKER}.bin", f"{MARKER}.none"):
        attachment = {"kind": "file", "uri": (project / attached).as_uri()}
        client.request(
            "starcoder/chat/send",
            {"conversation": conversation, "text": MARKER, "attachments": [attachment]},
        )
    for method in ("get", "retry", "export", "stop", "delete"):
        client.request(f"starcoder/chat/{method}", {"conversation": MARKER})
        client.request(f"starcoder/chat/{method}", {"conversation": conversation})


def send_malformed(client: RawProcess) -> None:
    """Send messages of every method with wrong types, and messages that are no requests."""
    for method in METHODS:
        for params in ({MARKER: MARKER}, [MARKER], MARKER, {"textDocument": {"uri": [MARKER]}}):
            if method not in ("exit", "shutdown"):
                client.notify(method, params)
            if method != "shutdown":
                client.request(method, params)
        client.send({"jsonrpc": "1.0", "id": MARKER, "method": method, "params": {MARKER: MARKER}})
        client.wait_for(MARKER)
    for body in (MARKER.encode(), f'{{"{MARKER}": "{MARKER}"}}'.encode(), b'"' + MARKER.encode()):
        client.send_bytes(frame_body(body))
    client.send({"jsonrpc": "2.0", "id": MARKER, "error": {"code": 1, "message": MARKER}})


def change_settings(client: RawProcess) -> None:
    for settings in (
        {"model": f"{MARKER}/{MARKER}", "offline": True},
        {"engineUrl": f"http://127.0.0.1:9/{MARKER}", "engineToken": MARKER},
        {"engineUrl": f"http://{MARKER}.invalid", "tokenizer": f"~{MARKER}/{MARKER}"},
        {"adapter": MARKER, "model": "demo", "logLevel": "debug"},
        {"chatModel": f"/{MARKER}", "model": "demo", "logLevel": "debug"},
        {"starcoder": MARKER},
        MARKER,
    ):
        client.notify("workspace/didChangeConfiguration", {"settings": settings})
        client.request("starcoder/debugInfo")


def ask_engine_directly(runtime: Path) -> None:
    """Send requests to the engine that succeed, that it refuses, and that are not HTTP."""
    (socket,) = list(runtime.glob("*.sock"))[:1]
    with httpx2.Client(transport=httpx2.HTTPTransport(uds=str(socket)), timeout=30) as http:
        for path in ("completions", "chat/completions", "embeddings", MARKER):
            for body in (
                {"model": MARKER, "prompt": MARKER, "max_tokens": 4},
                {"model": "demo", "prompt": {MARKER: MARKER}},
                {"prompt": MARKER, "max_tokens": MARKER, "stop": [[MARKER]], MARKER: MARKER},
                {"prompt": MARKER * 10_000, "max_tokens": 4},
                {"messages": [{"role": MARKER, "content": MARKER}]},
                {"messages": [{"role": "user", "content": MARKER}], "max_tokens": 4},
                {"prompt": MARKER, "adapter": MARKER},
                [MARKER],
            ):
                http.post(f"http://engine/v1/{path}", json=body, headers={MARKER: MARKER})
            http.post(f"http://engine/v1/{path}?{MARKER}={MARKER}", content=MARKER)
        http.get(f"http://engine/{MARKER}")
    with httpx2.Client(transport=httpx2.HTTPTransport(uds=str(socket)), timeout=30) as http:
        request = {"prompt": "\ud83d" + MARKER, "max_tokens": 4}
        http.post("http://engine/v1/completions", content=json.dumps(request).encode())
    for request in (f"{MARKER} /{MARKER} HTTP/1.1\r\n\r\n", f"{MARKER}\r\n\r\n"):
        with unix_socket.socket(unix_socket.AF_UNIX, unix_socket.SOCK_STREAM) as connection:
            connection.connect(str(socket))
            connection.sendall(request.encode())
            connection.settimeout(5)
            connection.recv(1000)


@pytest.mark.timeout(170)
def test_no_log_contains_text_of_the_user(
    server: RawProcess, project: Path, own_engines: Path, tmp_path: Path
) -> None:
    use_everything(server, project)
    ask_engine_directly(own_engines)
    send_malformed(server)
    change_settings(server)
    server.request("shutdown")
    server.notify("exit")
    assert server.wait() == 0
    texts = logs(tmp_path, server)
    assert any("engine-" in name for name in texts)
    assert "a message was refused" in texts[str(tmp_path / "server.log")]
    hits = {
        name: [line for line in text.splitlines() if MARKER.lower() in line.lower()]
        for name, text in texts.items()
    }
    assert {name: lines for name, lines in hits.items() if lines} == {}


def test_stderr_contains_no_text_of_the_user() -> None:
    """Without `--log-file`, and also if the first thing that arrives is wrong."""
    with raw_process(SERVER) as client:
        params: dict[str, Any] = {"processId": MARKER, "capabilities": {MARKER: MARKER}}
        assert client.request("initialize", params)["error"]["code"] == -32602
        client.initialize({MARKER: MARKER, "engineUrl": f"http://127.0.0.1:9/{MARKER}"})
        send_malformed(client)
        client.send_bytes(f"{MARKER}\r\n".encode())
        assert client.wait() == 1
        assert client.log
        assert MARKER.lower() not in client.log.lower()
