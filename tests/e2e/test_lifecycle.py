"""The life of a server: a quick start, changed settings, and a clean end."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from lsprotocol import types
from pygls.exceptions import JsonRpcException

from tests.e2e.client import ROOT, SERVER, scripted, start


async def test_the_editors_process_never_imports_torch(
    tiny_checkpoint: Path, own_engines: None
) -> None:
    async with start(settings={"model": str(tiny_checkpoint)}) as editor:
        await editor.wait_for_state("ready")
        editor.open("def mean(")
        await editor.suggestion(9, invoked=True)
        info = await editor.request("starcoder/debugInfo")
        assert info["heavyModules"] == []
        assert info["engine"]["pid"] not in (None, info["pid"])


async def test_initialize_does_not_wait_for_the_engine() -> None:
    """A server whose engine cannot be reached still answers immediately."""
    async with start(settings={"engineUrl": "http://127.0.0.1:9"}) as editor:
        status = await editor.wait_for_state("error")
        assert "No engine answers" in status["message"]
        editor.open("x = ")
        assert await editor.suggestion(4) is None
        # The status says it. Nobody asked for anything on purpose yet, so no message pops up.
        assert [message.message for message in editor.client.messages] == []


async def test_bad_settings_give_one_message_and_the_defaults() -> None:
    settings = {"maxNewTokens": "many", "multiline": "never", "nonsense": 1}
    async with start(scripted("a = 1\nb = 2"), settings=settings) as editor:
        editor.open("\n")
        assert await editor.suggestion(0) == "a = 1"  # the valid setting is used
        (message,) = [message.message for message in editor.client.messages]
        assert "starcoder.maxNewTokens = 'many'" in message
        assert "128" in message
        assert "starcoder.nonsense" in message


async def test_changed_settings_are_used_without_a_restart() -> None:
    async with start(scripted("1")) as editor:
        editor.open("x = ")
        assert await editor.suggestion(4) == "1"
        editor.client.set_configuration({"starcoder": {"enabled": False}})
        params = types.DidChangeConfigurationParams({"starcoder": {"enabled": False}})
        editor.client.workspace_did_change_configuration(params)
        await editor.wait_for_state("disabled")
        assert await editor.suggestion(4, invoked=True) is None


async def test_an_internal_error_reveals_no_text_to_the_client() -> None:
    async with start(scripted("1")) as editor:
        with pytest.raises(JsonRpcException) as caught:
            await editor.client.protocol.send_request_async("test/crash", {})
        error = f"{caught.value} {vars(caught.value)}"
        assert "secret" not in error
        assert "scripted_server" not in error
        assert "log" in error


def frame(message: dict[str, object]) -> bytes:
    body = json.dumps(message).encode()
    return b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


def initialize(pid: int | None) -> bytes:
    params = {"processId": pid, "rootUri": None, "capabilities": {}}
    return frame({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params})


def test_stdout_contains_only_frames_and_the_exit_is_clean() -> None:
    messages = initialize(None)
    messages += frame({"jsonrpc": "2.0", "method": "initialized", "params": {}})
    messages += frame({"jsonrpc": "2.0", "id": 2, "method": "shutdown"})
    messages += frame({"jsonrpc": "2.0", "method": "exit"})
    process = subprocess.run(
        scripted("1"), input=messages, capture_output=True, timeout=30, cwd=ROOT, check=False
    )
    assert process.returncode == 0
    rest = process.stdout
    answers = []
    while rest:
        head, _, rest = rest.partition(b"\r\n\r\n")
        length = int(dict(line.split(b": ") for line in head.split(b"\r\n"))[b"Content-Length"])
        answers.append(json.loads(rest[:length]))
        rest = rest[length:]
    assert {message.get("id") for message in answers} >= {1, 2}


def test_the_server_ends_at_the_end_of_file_on_stdin() -> None:
    process = subprocess.Popen(
        scripted("1"), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, cwd=ROOT
    )
    assert process.stdin is not None
    process.stdin.write(initialize(None))
    process.stdin.close()
    assert process.wait(timeout=20) is not None


def test_the_server_ends_when_the_editor_is_killed() -> None:
    """A third process keeps the pipes open, so only the editor's process id shows its end."""
    editor = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    process = subprocess.Popen(
        scripted("1"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(initialize(editor.pid))
    process.stdin.flush()
    output = b""
    while b"serverInfo" not in output:  # the response: `initialize` was handled
        output += os.read(process.stdout.fileno(), 65536)
    os.kill(editor.pid, signal.SIGKILL)
    editor.wait()
    with process:  # closes the pipes
        assert process.wait(timeout=20) == 0


async def test_two_clients_over_tcp_have_separate_documents() -> None:
    process = subprocess.Popen(  # noqa: ASYNC220 - nothing else runs yet
        [*SERVER, "--tcp", "127.0.0.1:0"],
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "STARCODER_LSP_TOKEN": "the-token-of-this-test"},
    )
    assert process.stderr is not None
    try:
        port = int(process.stderr.readline().rsplit(":", 1)[1])
        infos = await asyncio.gather(*(_debug_info_over_tcp(port, name) for name in ("a", "b")))
        assert [[document["uri"] for document in info["documents"]] for info in infos] == [
            ["file:///a.py"],
            ["file:///b.py"],
        ]
        # The server runs on after the first client has sent `exit`.
        assert psutil.Process(process.pid).is_running()
    finally:
        process.kill()
        process.communicate()


async def _debug_info_over_tcp(port: int, name: str) -> dict[str, Any]:
    """Open a document, return the debug info, and send `exit`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    options = {"engineUrl": "http://127.0.0.1:9", "token": "the-token-of-this-test"}
    params = {
        "processId": None,
        "rootUri": None,
        "capabilities": {},
        "initializationOptions": options,
    }
    document = {"uri": f"file:///{name}.py", "languageId": "python", "version": 1, "text": name}
    for message in (
        {"id": 1, "method": "initialize", "params": params},
        {"method": "textDocument/didOpen", "params": {"textDocument": document}},
        {"id": 2, "method": "starcoder/debugInfo", "params": {}},
    ):
        writer.write(frame({"jsonrpc": "2.0", **message}))
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        length = int((await reader.readline()).split(b":")[1])
        while (line := await reader.readline()) != b"\r\n":
            assert line.startswith(b"Content-Type")
        answer = json.loads(await reader.readexactly(length))
        if answer.get("id") == 2:
            writer.write(frame({"jsonrpc": "2.0", "method": "exit"}))
            writer.close()
            result: dict[str, Any] = answer["result"]
            return result
    raise AssertionError("no answer within 20 s")
