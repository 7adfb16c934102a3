"""The server over TCP, Unix sockets and pipes: who may use it, and what is refused."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.client import SERVER
from tests.raw_client import ROOT, RawClient, client_of, frame, frame_body

TOKEN = "zanzibar-token"
OPTIONS = {"engineUrl": "http://127.0.0.1:9"}


class Listening:
    """A server process that listens, with its address and its log."""

    def __init__(self, arguments: Sequence[str], environment: dict[str, str], log: Path) -> None:
        self._log = log
        self.process = subprocess.Popen(
            [*SERVER, *arguments, "--log-file", str(log)],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, **environment},
        )
        assert self.process.stderr is not None
        line = self.process.stderr.readline().decode()
        assert line.startswith("listening on "), line
        self.address = line.removeprefix("listening on ").strip()

    def connect(self) -> socket.socket:
        if "/" in self.address:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.connect(self.address)
        else:
            host, _, port = self.address.rpartition(":")
            connection = socket.create_connection((host, int(port)))
        connection.settimeout(20)
        return connection

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def stop(self) -> None:
        self.process.terminate()
        self.process.communicate()


@contextlib.contextmanager
def listening(tmp_path: Path, arguments: Sequence[str], **environment: str) -> Iterator[Listening]:
    server = Listening(arguments, environment, tmp_path / "server.log")
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def tcp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    folder = tmp_path_factory.mktemp("tcp")
    with listening(folder, ["--tcp", "0"], STARCODER_LSP_TOKEN=TOKEN) as server:
        yield server


def answers(connection: socket.socket) -> bytes:
    """Return everything that the server sends until it closes the connection."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            data += piece
    return data


def is_usable(client: RawClient, options: dict[str, Any]) -> bool:
    return "result" in client.initialize(options) and "result" in client.request(
        "starcoder/debugInfo"
    )


def initialize(options: Any) -> dict[str, Any]:
    params = {"processId": None, "capabilities": {}, "initializationOptions": options}
    return {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}


# The token.


def test_a_client_with_the_token_is_served(tcp: Listening) -> None:
    with client_of(tcp.connect()) as client:
        assert is_usable(client, {**OPTIONS, "token": TOKEN})
        client.request("shutdown")
        client.notify("exit")
        # The token is not taken for a setting.
        shown = [each for each in client.wait_for_end() if each["method"] == "window/showMessage"]
        assert "token" not in json.dumps(shown)


@pytest.mark.parametrize(
    "options",
    [
        None,
        [],
        TOKEN,
        {},
        {"token": ""},
        {"token": None},
        {"token": TOKEN[:-1]},
        {"token": TOKEN + "x"},
        {"token": TOKEN.upper()},
        {"token": [TOKEN]},
        {"token": "\ud83d"},
        {"starcoder": {"token": TOKEN}},
    ],
)
def test_a_client_without_the_token_is_disconnected(tcp: Listening, options: Any) -> None:
    with tcp.connect() as connection:
        document = {"uri": "file:///a", "languageId": "python", "version": 1, "text": "x"}
        connection.sendall(
            frame(initialize(options))
            + frame(
                {
                    "jsonrpc": "2.0",
                    "method": "textDocument/didOpen",
                    "params": {"textDocument": document},
                }
            )
            + frame({"jsonrpc": "2.0", "id": 2, "method": "starcoder/debugInfo"})
        )
        received = answers(connection)
    assert received.count(b"Content-Length") == 1
    answer = json.loads(received.partition(b"\r\n\r\n")[2])
    assert (answer["id"], answer["error"]["code"]) == (1, -32600)
    assert "initializationOptions" in answer["error"]["message"]
    assert TOKEN not in tcp.log


def test_nothing_is_handled_before_the_token(tcp: Listening) -> None:
    with client_of(tcp.connect()) as client:
        for method in ("starcoder/debugInfo", "starcoder/chat/create", "shutdown"):
            assert client.request(method)["error"]["code"] == -32002


@pytest.mark.parametrize("host", ["", "127.0.0.1:", "0.0.0.0:", "localhost:"])
def test_tcp_without_a_token_names_both_alternatives(host: str) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "STARCODER_LSP_TOKEN"}
    output = run("--tcp", f"{host}0", environment=environment)
    assert "--uds" in output
    assert "--token-file" in output


def test_the_token_can_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.touch(mode=0o600)
    file.write_text(f"{TOKEN}\n", encoding="ascii")
    arguments = ["--tcp", "127.0.0.1:0", "--token-file", str(file)]
    with (
        listening(tmp_path, arguments, STARCODER_LSP_TOKEN="another") as server,
        client_of(server.connect()) as client,
    ):
        assert is_usable(client, {**OPTIONS, "token": TOKEN})


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff", b"two\nlines"])
def test_a_file_without_a_token_is_refused(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.touch(mode=0o600)
        file.write_bytes(content)
    assert str(file.name) in run("--tcp", "0", "--token-file", str(file))


# What is not LSP.


@pytest.mark.parametrize(
    "data",
    [
        b"POST /zanzibar HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s",
        b"Content-Length: %d\r\nOrigin: http://zanzibar\r\n\r\n%s",
        b"zanzibar\r\nContent-Length: %d\r\n\r\n%s",
    ],
)
def test_an_http_request_is_not_parsed_as_json_rpc(tcp: Listening, data: bytes) -> None:
    body = json.dumps(initialize({"token": TOKEN})).encode()
    num_lines = len(tcp.log.splitlines())
    with tcp.connect() as connection:
        connection.sendall(data % (len(body), body))
        assert answers(connection) == b""
    (line,) = tcp.log.splitlines()[num_lines:]
    assert "the connection is closed" in line
    assert "zanzibar" not in line


@pytest.mark.parametrize("length", [b"-1", b"0", b"many", b"2000000", b"99999999999"])
def test_an_absurd_length_closes_the_connection(tcp: Listening, length: bytes) -> None:
    with tcp.connect() as connection:
        connection.sendall(b"Content-Length: %s\r\n\r\n{}" % length)
        assert answers(connection) == b""


def test_a_long_message_is_read_once_the_client_is_known(tcp: Listening) -> None:
    with client_of(tcp.connect()) as client:
        client.initialize({**OPTIONS, "token": TOKEN})
        text = "x" * 2_000_000
        document = {"uri": "file:///a", "languageId": "python", "version": 1, "text": text}
        client.notify("textDocument/didOpen", {"textDocument": document})
        (info,) = client.request("starcoder/debugInfo")["result"]["documents"]
        assert info["length"] == len(text)
        client.send_bytes(b"Content-Length: 67108865\r\n\r\n")
        client.wait_for_end()


def test_other_clients_are_served_while_one_sends_nothing(tcp: Listening) -> None:
    with tcp.connect(), tcp.connect() as unfinished, client_of(tcp.connect()) as client:
        unfinished.sendall(b"Content-Length: 100\r\n\r\n{")
        assert is_usable(client, {**OPTIONS, "token": TOKEN})


def test_a_client_cannot_end_the_server_with_the_id_of_a_process(tcp: Listening) -> None:
    """With stdio the server ends with the process that the client names."""
    child = subprocess.Popen(["true"])
    message = initialize({**OPTIONS, "token": TOKEN})
    message["params"]["processId"] = child.pid
    with client_of(tcp.connect()) as client:
        client.send(message)
        assert "result" in client.wait_for(1)
        child.wait()
        assert "result" in client.request("starcoder/debugInfo")
    with pytest.raises(subprocess.TimeoutExpired):
        tcp.process.wait(3)


def test_garbage_on_stdin_ends_the_server() -> None:
    process = subprocess.run(
        SERVER, input=b"zanzibar\r\n", capture_output=True, timeout=30, cwd=ROOT, check=False
    )
    assert process.returncode == 1
    assert process.stdout == b""
    assert process.stderr.count(b"\n") == 1
    assert b"zanzibar" not in process.stderr


# Unix sockets.


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    return private


def test_a_unix_socket_needs_no_token_and_only_its_user_may_open_it(
    tmp_path: Path, folder: Path
) -> None:
    path = folder / "lsp.sock"
    with listening(tmp_path, ["--uds", str(path)]) as server:
        state = path.stat()
        assert stat.S_ISSOCK(state.st_mode)
        assert stat.S_IMODE(state.st_mode) == 0o600
        assert server.address == str(path)
        for _ in range(2):
            with client_of(server.connect()) as client:
                assert is_usable(client, OPTIONS)
        with server.connect() as connection:
            connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert answers(connection) == b""
        assert "Another process listens" in run("--uds", str(path))
        with client_of(server.connect()) as client:
            assert is_usable(client, OPTIONS)
        server.process.kill()
        server.process.wait()
        assert path.exists()  # a killed server leaves it
    with listening(tmp_path, ["--uds", str(path)]) as server, client_of(server.connect()) as client:
        assert is_usable(client, OPTIONS)


def test_another_user_cannot_use_the_socket(tmp_path: Path, folder: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("optional: only root can become another user")
    path = folder / "lsp.sock"
    with listening(tmp_path, ["--uds", str(path)]):
        for part in (folder, *folder.parents[:-1]):
            part.chmod(part.stat().st_mode | 0o011)  # the socket's own mode must suffice
        script = f"import os, socket\nos.setuid(65534)\nsocket.socket(1).connect({str(path)!r})"
        result = subprocess.run(
            ["python3", "-c", script], capture_output=True, text=True, check=False
        )
        assert "PermissionError" in result.stderr


def test_a_file_is_never_replaced_by_a_socket(folder: Path) -> None:
    path = folder / "notes.txt"
    path.write_text("kept", encoding="ascii")
    assert "is not a socket" in run("--uds", str(path))
    assert path.read_text(encoding="ascii") == "kept"
    link = folder / "link"
    link.symlink_to(path)
    assert "is not a socket" in run("--uds", str(link))


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o707, 0o1777])
def test_a_folder_in_which_others_can_write_is_refused(folder: Path, mode: int) -> None:
    folder.chmod(mode)
    assert "mode 0700" in run("--uds", str(folder / "lsp.sock"))


def test_a_missing_folder_and_a_long_path_are_explained(folder: Path) -> None:
    assert "Create it" in run("--uds", str(folder / "none" / "lsp.sock"))
    assert "Choose another" in run("--uds", str(folder / ("x" * 120)))


# The pipe of a client, as vscode-languageclient's transport "pipe" uses it.


def test_a_pipe_is_opened_by_the_client(folder: Path) -> None:
    path = folder / "client.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen(1)
        process = subprocess.Popen(
            [*SERVER, f"--pipe={path}", "--clientProcessId=1"], stdin=subprocess.DEVNULL, cwd=ROOT
        )
        connection, _ = listener.accept()
        with client_of(connection) as client:
            assert is_usable(client, OPTIONS)
            client.request("shutdown")
            client.notify("exit")
            assert process.wait(20) == 0


def test_a_pipe_on_which_no_client_listens_is_explained(folder: Path) -> None:
    assert "--uds" in run("--pipe", str(folder / "none.sock"))


# The command line.


def run(*arguments: str, environment: dict[str, str] | None = None) -> str:
    """Run the command, which must fail with one sentence; return the sentence."""
    process = subprocess.run(
        [*SERVER, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        cwd=ROOT,
        check=False,
        env=environment or {**os.environ, "STARCODER_LSP_TOKEN": TOKEN},
    )
    assert process.returncode != 0
    assert process.stdout == ""
    assert "Traceback" not in process.stderr
    assert TOKEN not in process.stderr
    return process.stderr.replace("\n", " ")


def test_a_taken_port_is_explained(tcp: Listening) -> None:
    assert "cannot listen on" in run("--tcp", tcp.address)
    assert "cannot listen on" in run("--tcp", "no such host:0")


@pytest.mark.parametrize("transport", [["--stdio"], ["--tcp", "0"]])
def test_a_log_file_that_cannot_be_written_is_explained(
    tmp_path: Path, transport: list[str]
) -> None:
    path = tmp_path / "none" / "server.log"
    sentence = run(*transport, "--log-file", str(path))
    assert "none/server.log cannot be written" in sentence


def test_transports_exclude_each_other(folder: Path) -> None:
    assert "exclude each other" in run("--stdio", "--pipe", "x")
    assert "exclude each other" in run("--tcp", "0", "--uds", str(folder / "x"))


def test_a_client_that_leaves_during_a_message_harms_nobody(tcp: Listening) -> None:
    threads = []
    for size in (10, 1000, 100_000):

        def leave(size: int = size) -> None:
            with tcp.connect() as connection:
                connection.sendall(frame_body(b" " * 200_000)[:size])

        threads.append(threading.Thread(target=leave))
        threads[-1].start()
    for thread in threads:
        thread.join()
    with client_of(tcp.connect()) as client:
        assert is_usable(client, {**OPTIONS, "token": TOKEN})


def test_addresses_that_cannot_be_used_are_explained(tcp: Listening, folder: Path) -> None:
    sentence = run("--tcp", tcp.address)
    assert "(Address already in use). Choose another address." in sentence
    long = str(folder / ("x" * 200))
    for option in ("--uds", "--pipe"):
        assert "path too long" in run(option, long)
        assert "No such file or directory" in run(option, "/no/such/folder/socket")
