"""The threads of a server, and those of `serve`, share two arenas of glibc."""

import ctypes
import subprocess
import sys

import pytest

COUNT_ARENAS = """
import ctypes, sys, threading
from engine.server import process
from lsp_server.allocator import limit_arenas
from lsp_server.cli.serve import serve
if sys.argv[1] == "limited":
    limit_arenas()
elif sys.argv[1] == "serve":
    process.run = lambda *_, **__: None
    serve(token="secret", port=0)
barrier = threading.Barrier(6)
def work():
    kept = [bytearray(5000) for _ in range(100)]
    barrier.wait()
threads = [threading.Thread(target=work) for _ in range(6)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
stdout = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, stdout)
libc.fflush(stdout)
"""


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "malloc_info"), reason="optional: the allocator of glibc"
)
@pytest.mark.parametrize(
    ("mode", "limited"), [("limited", True), ("serve", True), ("default", False)]
)
def test_the_number_of_arenas_is_limited(mode: str, limited: bool) -> None:
    command = [sys.executable, "-c", COUNT_ARENAS, mode]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert (output.count("<heap nr=") <= 2) is limited
