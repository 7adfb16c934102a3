"""The check of what a sandbox uses, while its processes begin and end."""

import subprocess
import sys
import time

import pytest

from sandbox.command import Limits
from sandbox.watchdog import exceeds

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="optional: needs /proc")

SHORT_LIVES = """
import os
while True:
    child = os.fork()
    if child == 0:
        if os.fork() == 0:
            os._exit(0)
        os._exit(0)
    os.waitpid(child, 0)
"""


def test_processes_may_end_while_they_are_counted() -> None:
    with subprocess.Popen([sys.executable, "-S", "-c", SHORT_LIVES]) as process:
        end, checks = time.monotonic() + 2.0, 0
        try:
            while time.monotonic() < end:
                assert not exceeds(process.pid, Limits())
                checks += 1
        finally:
            process.kill()
    assert checks > 50
    assert not exceeds(process.pid, Limits())  # the process itself has ended
