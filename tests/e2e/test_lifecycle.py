"""The server's life: a quick start, settings that change, and an end that nobody waits for."""

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
from lsprotocol import types

from tests.e2e.client import SERVER, scripted, start

ROOT = Path(__file__).parent.parent.parent


async def test_the_editors_process_never_imports_torch(
    tiny_checkpoint: Path, own_engines: None
) -> None:
    async with start(settings={"model": str(tiny_checkpoint)}) as editor:
        await editor.until("ready")
        editor.open("def mean(")
        await editor.suggestion(9, invoked=True)
        info = await editor.request("starcoder/debugInfo")
        assert info["heavyModules"] == []
        assert info["engine"]["pid"] not in (None, info["pid"])


async def test_initialize_does_not_wait_for_the_engine() -> None:
    """A server whose engine cannot start for minutes still answers at once."""
    async with start(settings={"engineUrl": "http://127.0.0.1:9"}) as editor:
        status = await editor.until("error")
        assert "No engine answers" in status["message"]
        editor.open("x = ")
        assert await editor.suggestion(4) is None
        shown = [message.message for message in editor.client.messages]
        assert sum("No engine answers" in message for message in shown) == 1  # not at every key


async def test_bad_settings_give_one_message_and_the_defaults() -> None:
    sent = {"maxNewTokens": "many", "multiline": "never", "nonsense": 1}
    async with start(scripted("a = 1\nb = 2"), settings=sent) as editor:
        editor.open("\n")
        assert await editor.suggestion(0) == "a = 1"  # the good setting is in force
        (message,) = [m.message for m in editor.client.messages]
        assert "starcoder.maxNewTokens = 'many'" in message
        assert "128" in message
        assert "starcoder.nonsense" in message


async def test_settings_change_while_it_runs() -> None:
    async with start(scripted("1")) as editor:
        editor.open("x = ")
        assert await editor.suggestion(4) == "1"
        editor.client.set_configuration({"starcoder": {"enabled": False}})
        params = types.DidChangeConfigurationParams({"starcoder": {"enabled": False}})
        editor.client.workspace_did_change_configuration(params)
        await editor.until("disabled")
        assert await editor.suggestion(4, invoked=True) is None


async def test_a_failure_tells_the_client_nothing_of_the_text() -> None:
    async with start(scripted("1")) as editor:
        try:
            await editor.client.protocol.send_request_async("test/crash", {})
        except Exception as error:
            told = f"{error} {vars(error)}"
        assert "secret" not in told
        assert "scripted_server" not in told
        assert "log" in told


def frame(message: dict[str, object]) -> bytes:
    body = json.dumps(message).encode()
    return b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


def initialize(pid: int | None) -> bytes:
    params = {"processId": pid, "rootUri": None, "capabilities": {}}
    return frame({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params})


def test_stdout_holds_nothing_but_frames_and_exit_is_clean() -> None:
    talk = initialize(None)
    talk += frame({"jsonrpc": "2.0", "method": "initialized", "params": {}})
    talk += frame({"jsonrpc": "2.0", "id": 2, "method": "shutdown"})
    talk += frame({"jsonrpc": "2.0", "method": "exit"})
    done = subprocess.run(
        scripted("1"), input=talk, capture_output=True, timeout=30, cwd=ROOT, check=False
    )
    assert done.returncode == 0
    rest = done.stdout
    answered = []
    while rest:
        head, _, rest = rest.partition(b"\r\n\r\n")
        length = int(dict(line.split(b": ") for line in head.split(b"\r\n"))[b"Content-Length"])
        answered.append(json.loads(rest[:length]))
        rest = rest[length:]
    assert {message.get("id") for message in answered} >= {1, 2}


def test_end_of_file_on_stdin_ends_it() -> None:
    process = subprocess.Popen(
        scripted("1"), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, cwd=ROOT
    )
    assert process.stdin is not None
    process.stdin.write(initialize(None))
    process.stdin.close()
    assert process.wait(timeout=20) is not None


def test_it_ends_when_the_editor_dies() -> None:
    """The editor is killed, its pipes are kept open by a third process: only its pid tells."""
    editor = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    process = subprocess.Popen(
        scripted("1"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(initialize(editor.pid))
    process.stdin.flush()
    seen = b""
    while b"serverInfo" not in seen:  # the answer: whatever `initialize` does is done
        seen += os.read(process.stdout.fileno(), 65536)
    os.kill(editor.pid, signal.SIGKILL)
    editor.wait()
    with process:  # closes the pipes
        assert process.wait(timeout=20) == 0


async def test_two_clients_over_tcp_do_not_mix() -> None:
    process = subprocess.Popen(  # noqa: ASYNC220 - before anything else runs
        [*SERVER, "--tcp", "127.0.0.1:0"], stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stderr is not None
    try:
        port = int(process.stderr.readline().rsplit(":", 1)[1])
        infos = await asyncio.gather(*(_one_of_two(port, name) for name in ("a", "b")))
        assert [[one["uri"] for one in info["documents"]] for info in infos] == [
            ["file:///a.py"],
            ["file:///b.py"],
        ]
        assert psutil.Process(process.pid).is_running()  # the first to exit did not end it
    finally:
        process.kill()
        process.communicate()


async def _one_of_two(port: int, name: str) -> dict[str, Any]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    options = {"engineUrl": "http://127.0.0.1:9"}
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
    raise AssertionError("no answer")
