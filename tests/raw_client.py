"""A client that sends plain bytes and messages to a real server process, also wrong ones."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parent.parent
TIMEOUT_S = 20.0
Answer = Callable[[dict[str, Any]], Any]


def frame(message: Any) -> bytes:
    """Return any JSON value as a frame."""
    return frame_body(json.dumps(message).encode())


def frame_body(body: bytes) -> bytes:
    """Return any bytes as a frame."""
    return b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


def read_message(stream: IO[bytes]) -> Any:
    """Return the next message of a stream, None at its end."""
    length = 0
    while (line := stream.readline()) not in (b"\r\n", b""):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return json.loads(stream.read(length)) if line else None


class RawClient:
    """A connection. A thread reads the server's messages and answers its requests."""

    def __init__(
        self, output: IO[bytes], send: Callable[[bytes], object], answer: Answer | None = None
    ) -> None:
        self.send_bytes = send
        self.messages: list[dict[str, Any]] = []
        """All messages of the server so far, except its requests."""
        self.answer: Answer = answer or (lambda request: {"result": None})
        self._arrived: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._num_requests = 0
        self._reader = threading.Thread(target=self._read, args=(output,), daemon=True)
        self._reader.start()

    def _read(self, output: IO[bytes]) -> None:
        with contextlib.suppress(OSError, ValueError):
            # The thread may write while the test closes the server's input.
            while (message := read_message(output)) is not None:
                if "id" in message and "method" in message:
                    answer = self.answer(message)
                    if answer is not None:
                        self.send({"jsonrpc": "2.0", "id": message["id"], **answer})
                else:
                    self._arrived.put(message)
        self._arrived.put(None)

    def send(self, message: Any) -> None:
        """Send any JSON value."""
        self.send_bytes(frame(message))

    def join(self) -> None:
        """Wait until the server's messages have ended."""
        self._reader.join(TIMEOUT_S)

    def notify(self, method: str, params: Any = None) -> None:
        """Send a notification."""
        self.send({"jsonrpc": "2.0", "method": method, "params": params})

    def request(self, method: str, params: Any = None) -> dict[str, Any]:
        """Send a request and return its answer."""
        self._num_requests += 1
        id_ = f"request {self._num_requests}"
        self.send({"jsonrpc": "2.0", "id": id_, "method": method, "params": params})
        return self.wait_for(id_)

    def next_answer(self) -> dict[str, Any]:
        """Return the next answer of any request. Raises AssertionError at the end."""
        while True:
            message = self._arrived.get(timeout=TIMEOUT_S)
            assert message is not None, "the connection was closed"
            self.messages.append(message)
            if "id" in message:
                return message

    def wait_for(self, id_: Any) -> dict[str, Any]:
        """Return the answer to the request with this id."""
        for message in self.messages:
            if "id" in message and message["id"] == id_:
                return message
        while (message := self.next_answer())["id"] != id_:
            pass
        return message

    def wait_for_end(self) -> list[dict[str, Any]]:
        """Wait until the server closes the connection; return the messages until then."""
        messages = []
        while (message := self._arrived.get(timeout=TIMEOUT_S)) is not None:
            messages.append(message)
        return messages

    def initialize(self, options: Any = None, **capabilities: Any) -> dict[str, Any]:
        """Initialize the session and return the answer."""
        params = {
            "processId": None,
            "rootUri": None,
            "capabilities": capabilities,
            "initializationOptions": options,
        }
        answer = self.request("initialize", params)
        self.notify("initialized", {})
        return answer


class RawProcess(RawClient):
    """A server process over stdio."""

    def __init__(
        self,
        command: Sequence[str],
        environment: dict[str, str] | None = None,
        answer: Answer | None = None,
    ) -> None:
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
        )
        stdin = self.process.stdin
        assert stdin is not None
        assert self.process.stdout is not None
        self._stdin = stdin
        self._log: list[bytes] = []
        self._log_reader = threading.Thread(target=self._read_log, daemon=True)
        self._log_reader.start()
        super().__init__(self.process.stdout, self._send, answer)

    def _send(self, data: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._stdin.write(data)
            self._stdin.flush()

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._log.append(line)

    def close_input(self) -> None:
        """End the server's stdin."""
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()

    def wait(self) -> int:
        """Wait until the process has ended; return its exit status."""
        status = self.process.wait(TIMEOUT_S)
        self._log_reader.join(TIMEOUT_S)
        return status

    @property
    def log(self) -> str:
        """What the process wrote to stderr so far."""
        return b"".join(self._log).decode(errors="replace")

    def kill(self) -> None:
        """End the process, whatever its state, and close the pipes."""
        self.process.kill()
        self._reader.join()
        self._log_reader.join()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


@contextlib.contextmanager
def raw_process(
    command: Sequence[str],
    environment: dict[str, str] | None = None,
    answer: Answer | None = None,
) -> Iterator[RawProcess]:
    """Run a server process until the block ends."""
    process = RawProcess(command, environment, answer)
    try:
        yield process
    finally:
        process.kill()


@contextlib.contextmanager
def client_of(connection: socket.socket) -> Iterator[RawClient]:
    """Use a connected socket until the block ends."""
    with connection, connection.makefile("rb") as output:
        client = RawClient(output, connection.sendall)
        try:
            yield client
        finally:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            client.join()
