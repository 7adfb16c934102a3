"""No program of a sandbox reaches another program: FIFOs, sockets, networks, terminals."""

import ctypes
import os
import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox.backends import Backend
from sandbox.sandbox import Sandbox
from tests.sandbox.escapes import attempt

pytestmark = pytest.mark.skipif(os.name != "posix", reason="optional: needs POSIX")

Place = tuple[Path, tuple[Path, ...]]
BARE = Sandbox(Backend.NONE)
"""Shows that an attempt is real: it succeeds without isolation."""


def unblocked(descriptor: int) -> bytes:
    with suppress(BlockingIOError):
        return os.read(descriptor, 100)
    return b""


def test_a_fifo_cannot_be_written(box: Sandbox, place: Place) -> None:
    folder, readable = place
    fifo = folder / "fifo"
    os.mkfifo(fifo)
    fifo.chmod(0o666)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    write = f"os.write(os.open({str(fifo)!r}, os.O_WRONLY | os.O_NONBLOCK), b'theirs')"
    try:
        assert attempt(replace(box, readable=readable), write)
        assert unblocked(reader) == b""
        assert attempt(BARE, write) == ""
        assert unblocked(reader) == b"theirs"
    finally:
        os.close(reader)


def test_a_fifo_cannot_be_read(box: Sandbox, place: Place) -> None:
    folder, readable = place
    fifo = folder / "fifo"
    os.mkfifo(fifo)
    fifo.chmod(0o666)
    both = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    os.write(both, b"mine")
    read = f"os.read(os.open({str(fifo)!r}, os.O_RDONLY | os.O_NONBLOCK), 10)"
    try:
        assert attempt(replace(box, readable=readable), read)
        assert unblocked(both) == b"mine"
    finally:
        os.close(both)


@pytest.mark.parametrize("kind", ["STREAM", "DGRAM"])
def test_a_unix_socket_cannot_be_reached(box: Sandbox, place: Place, kind: str) -> None:
    folder, readable = place
    path = str(folder / "s")
    with socket.socket(socket.AF_UNIX, getattr(socket, f"SOCK_{kind}")) as server:
        server.bind(path)
        os.chmod(path, 0o777)
        if kind == "STREAM":
            server.listen()
        connect = f"socket.socket(socket.AF_UNIX, socket.SOCK_{kind}).connect({path!r})"
        assert attempt(replace(box, readable=readable), connect) == "EAFNOSUPPORT"
        assert attempt(BARE, connect) == ""


def test_a_pair_of_sockets_cannot_be_redirected(box: Sandbox, place: Place) -> None:
    folder, readable = place
    path = str(folder / "s")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(path)
        os.chmod(path, 0o777)
        send = f"socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].sendto(b'x', {path!r})"
        assert attempt(replace(box, readable=readable), send) == "EAFNOSUPPORT"
        assert attempt(BARE, send) == ""
    # asyncio needs a connected pair, Rust one with packets.
    assert attempt(box, "a, b = socket.socketpair(); a.send(b'x'); assert b.recv(1) == b'x'") == ""


@pytest.mark.parametrize("kind", ["SOCK_STREAM", "SOCK_SEQPACKET"])
def test_a_connected_pair_reaches_nobody_else(box: Sandbox, place: Place, kind: str) -> None:
    folder, readable = place
    path = str(folder / "s")
    with socket.socket(socket.AF_UNIX, getattr(socket, kind)) as server:
        server.bind(path)
        server.listen()
        server.setblocking(False)
        os.chmod(path, 0o777)
        pair = f"a, b = socket.socketpair(socket.AF_UNIX, socket.{kind})"
        shown = replace(box, readable=readable)
        assert attempt(shown, f"{pair}; a.connect({path!r})") != ""
        attempt(shown, f"{pair}; a.sendto(b'x', {path!r})")
        assert attempt(shown, f"{pair}; b.close(); a.connect({path!r})") != ""
        with pytest.raises(BlockingIOError):
            server.accept()
    assert attempt(box, f"{pair}; a.send(b'x'); assert b.recv(1) == b'x'") == ""


def late(folder: Path, make: Callable[[Path], None]) -> threading.Thread:
    """Make something in a folder after a second, when the program already runs."""

    def wait_and_make() -> None:
        time.sleep(1)
        make(folder / "late")

    thread = threading.Thread(target=wait_and_make)
    thread.start()
    return thread


WAIT = "while not os.path.exists({path!r}): time.sleep(0.01)\ntime.sleep(0.2)\n"


def test_a_fifo_that_appears_later_cannot_be_written(box: Sandbox, tmp_path: Path) -> None:
    if ctypes.CDLL(None).syscall(444, None, 0, 1) < 2:
        pytest.skip("optional: this kernel has no Landlock")
    tmp_path.chmod(0o777)
    path = str(tmp_path / "late")
    readers: list[int] = []

    def make(fifo: Path) -> None:
        os.mkfifo(fifo)
        fifo.chmod(0o666)
        readers.append(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK))

    thread = late(tmp_path, make)
    write = f"os.write(os.open({path!r}, os.O_WRONLY | os.O_NONBLOCK), b'theirs')"
    try:
        assert attempt(replace(box, readable=(tmp_path,)), WAIT.format(path=path) + write)
        assert unblocked(readers[0]) == b""
    finally:
        thread.join()
        os.close(readers[0])


def test_an_abstract_socket_cannot_be_reached(box: Sandbox) -> None:
    name = f"\0starcoder-lsp-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(name)
        server.listen()
        connect = f"socket.socket(socket.AF_UNIX).connect({name!r})"
        assert attempt(box, connect) == "EAFNOSUPPORT"
        assert attempt(BARE, connect) == ""
        # The filter refuses the socket. The network namespace does not even contain the name.
        listed = f"if {name[1:]!r} not in open('/proc/net/unix').read(): raise OSError(2, '')"
        assert attempt(box, listed) == "ENOENT"
        assert attempt(BARE, listed) == ""


@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6"])
def test_no_network_is_reached(box: Sandbox, family: str) -> None:
    host = "127.0.0.1" if family == "AF_INET" else "::1"
    try:
        server = socket.create_server((host, 0), family=getattr(socket, family))
    except OSError:
        pytest.skip("optional: this machine has no IPv6")
    with server:
        server.settimeout(0)
        address = server.getsockname()[:2]
        connect = f"socket.create_connection({address!r}, 2)"
        assert attempt(box, connect)
        with pytest.raises(BlockingIOError):
            server.accept()
        assert attempt(BARE, connect) == ""
    outside = "socket.create_connection(('192.0.2.1', 80), 2)"
    assert attempt(box, outside) == "ENETUNREACH"
    # A program may talk to itself.
    own = "s = socket.create_server(('127.0.0.1', 0)); socket.create_connection(s.getsockname(), 2)"
    assert attempt(box, own) == ""


@pytest.mark.parametrize(
    "family", ["AF_NETLINK", "AF_VSOCK", "AF_PACKET", "AF_ALG", "AF_BLUETOOTH"]
)
def test_other_kinds_of_sockets_do_not_exist(box: Sandbox, family: str) -> None:
    number = getattr(socket, family, None) or {"AF_BLUETOOTH": 31}[family]
    for kind in ("SOCK_RAW", "SOCK_STREAM", "SOCK_SEQPACKET"):
        assert attempt(box, f"socket.socket({number}, socket.{kind})") == "EAFNOSUPPORT"


def test_a_terminal_cannot_be_opened(box: Sandbox) -> None:
    controller, terminal = os.openpty()
    name = os.ttyname(terminal)
    os.chmod(name, 0o666)
    os.set_blocking(controller, False)
    try:
        write = f"os.write(os.open({name!r}, os.O_WRONLY | os.O_NOCTTY), b'theirs')"
        assert attempt(box, write) == "ENOENT"
        assert unblocked(controller) == b""
        assert attempt(BARE, write) == ""
        assert unblocked(controller) == b"theirs"
    finally:
        os.close(controller)
        os.close(terminal)
    for path in ("/dev/tty", "/dev/ptmx", "/dev/pts/ptmx", "/dev/console"):
        assert attempt(box, f"os.open({path!r}, os.O_RDWR | os.O_NOCTTY)") == "ENOENT"
    assert attempt(box, "os.openpty()")


@pytest.mark.parametrize("request_number", [0x5412, 0x541C, 0x5412 + (1 << 32)])
def test_nothing_is_typed_into_a_terminal(box: Sandbox, request_number: int) -> None:
    ioctl = "libc.ioctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_char_p]\n"
    ioctl += f"call(libc.ioctl, 0, {request_number}, b'x')"
    assert attempt(box, ioctl) == "EPERM"
    assert attempt(box, ioctl.replace(str(request_number), str(0x5413))) == "ENOTTY"


def test_only_pipes_are_inherited(box: Sandbox, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("mine")
    secret_file = os.open(secret, os.O_RDONLY)
    os.set_inheritable(secret_file, True)
    try:
        listing = (
            "open_files = {}\n"
            "for number in range(1024):\n"
            "    try: open_files[number] = stat.S_ISFIFO(os.fstat(number).st_mode)\n"
            "    except OSError: pass\n"
            "if open_files != {0: True, 1: True, 2: True}: raise OSError(str(open_files))\n"
        )
        assert attempt(box, listing) == ""
    finally:
        os.close(secret_file)


def test_the_output_is_a_pipe_that_only_the_caller_reads(box: Sandbox) -> None:
    reader, writer = os.pipe()
    try:
        assert attempt(box, f"os.write({writer}, b'theirs')") == "EBADF"
        assert not select.select([reader], [], [], 0)[0]
    finally:
        os.close(reader)
        os.close(writer)
