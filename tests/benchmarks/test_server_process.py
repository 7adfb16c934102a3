"""A server that a benchmark or a test starts ends with it, however that ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from benchmarks.servers.process import ServerProcess, free_port

SERVER = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", sys.argv[2]])
import http.server
http.server.test(http.server.SimpleHTTPRequestHandler, port=int(sys.argv[1]), bind="127.0.0.1")
"""
"""A server with a child process."""
STARTER = """
import sys, time
from pathlib import Path
from benchmarks.servers.process import ServerProcess
server = ServerProcess(sys.argv[3:], Path(sys.argv[1]), int(sys.argv[2]))
time.sleep(600)
"""


def command(port: int, mark: str) -> list[str]:
    return [sys.executable, "-c", SERVER, str(port), mark]


def processes(mark: str) -> list[psutil.Process]:
    """Return the processes of a server, without those that started it."""
    return [
        process
        for process in psutil.process_iter(["cmdline", "status"])
        if process.info["status"] != psutil.STATUS_ZOMBIE
        and mark in (process.info["cmdline"] or ())
        and not {STARTER, "-P"} & set(process.info["cmdline"])
    ]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("is_suspended", [False, True])
def test_stopping_ends_the_server_and_its_children(tmp_path: Path, is_suspended: bool) -> None:
    mark, port = f"mark of {tmp_path}", free_port()
    server = ServerProcess(command(port, mark), tmp_path / "home", port)
    server.wait_until_ready(30, "/")
    until(lambda: len(processes(mark)) == 2)
    assert server.is_running
    if is_suspended:
        server.suspend()
    server.stop()
    assert not server.is_running
    until(lambda: processes(mark) == [])


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_server_ends_when_the_process_that_started_it_does(
    tmp_path: Path, kind: signal.Signals
) -> None:
    mark, port = f"mark of {tmp_path}", free_port()
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(tmp_path), str(port), *command(port, mark)],
        cwd=Path(__file__).parents[2],
        start_new_session=True,
    )
    until(lambda: len(processes(mark)) == 2)
    os.killpg(starter.pid, kind)  # as a terminal or `timeout` does
    starter.wait()
    until(lambda: processes(mark) == [])


def test_a_server_that_ends_at_its_start_is_reported_with_its_log(tmp_path: Path) -> None:
    fails = [sys.executable, "-c", "raise SystemExit('no such model')"]
    server = ServerProcess(fails, tmp_path / "home", free_port())
    with pytest.raises(RuntimeError, match="no such model"):
        server.wait_until_ready(30)
    server.stop()


def test_a_server_has_a_home_of_its_own_and_no_settings_of_our_threads(tmp_path: Path) -> None:
    code = "import os; print(os.environ['HOME'], 'OMP_WAIT_POLICY' in os.environ)"
    server = ServerProcess([sys.executable, "-c", code], tmp_path / "home", free_port())
    until(lambda: not server.is_running)
    server.stop()
    assert server.log.read_text() == f"{tmp_path / 'home'} False\n"
