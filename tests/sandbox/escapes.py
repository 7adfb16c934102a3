"""Programs that try to leave a sandbox, and what they say about it."""

import sys

from sandbox.command import Command
from sandbox.sandbox import Sandbox

_PRELUDE = """
import array, ctypes, errno, fcntl, glob, os, signal, socket, stat, struct, sys, time
libc = ctypes.CDLL(None, use_errno=True)

def call(function, *arguments):
    if function(*arguments) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))

def attempt():
"""
_REPORT = """
try:
    attempt()
except OSError as error:
    print("REFUSED", errno.errorcode.get(error.errno, error))
else:
    print("SUCCEEDED")
"""


def python(box: Sandbox, program: str) -> str:
    """Run a Python program and return its output."""
    command = Command(
        (sys.executable, "-I", "-B", "-"), (_PRELUDE + "    pass\n" + program).encode()
    )
    return box.run_command(command).output.decode("utf-8", "replace")


def attempt(box: Sandbox, statements: str) -> str:
    """Run statements and return the name of the error that stops them, "" if they succeed."""
    body = "".join(f"    {line}\n" for line in statements.strip().splitlines())
    command = Command((sys.executable, "-I", "-B", "-"), (_PRELUDE + body + _REPORT).encode())
    result = box.run_command(command)
    last = result.output.decode("utf-8", "replace").strip().splitlines()[-1]
    if last == "SUCCEEDED":
        return ""
    assert last.startswith("REFUSED "), result
    return last.removeprefix("REFUSED ")
