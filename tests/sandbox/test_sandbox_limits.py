"""A program of a sandbox cannot use up the machine."""

import platform
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import psutil
import pytest

from sandbox.backends import Backend
from sandbox.command import Command, Limits, Outcome
from sandbox.sandbox import Sandbox
from sandbox.system_calls import forbidden
from tests.sandbox.conftest import LIMITS
from tests.sandbox.escapes import attempt, python


def test_the_memory_of_a_process_is_limited(backend: Backend) -> None:
    box = Sandbox(backend, Limits(memory_bytes=200 << 20))
    program = "try: bytearray({} << 20)\nexcept MemoryError: print('refused')"
    assert python(box, program.format(300)) == "refused\n"
    assert python(box, program.format(50)) == ""


def test_the_memory_of_all_processes_is_limited(backend: Backend) -> None:
    box = Sandbox(backend, Limits(total_memory_bytes=200 << 20))
    program = (
        "children = [os.fork() for _ in range({})]\nx = bytearray(b'x' * (40 << 20))\ntime.sleep(2)"
    )
    many = Command(("python3", "-c", "import os, time\n" + program.format(3)))
    started = time.monotonic()
    assert box.run_command(many).outcome is Outcome.FAILED
    assert time.monotonic() - started < 2
    few = Command(("python3", "-c", "import os, time\n" + program.format(1)))
    assert box.run_command(few).outcome is Outcome.PASSED


@pytest.mark.parametrize("name", ["memfd_create", "shmget", "memfd_secret"])
def test_there_is_no_memory_that_no_limit_counts(box: Sandbox, name: str) -> None:
    number = forbidden(platform.machine())[name]
    assert attempt(box, f"call(libc.syscall, {number}, 0, 1 << 20, 0o1000)") == "EPERM"


def test_the_number_of_processes_is_limited(backend: Backend) -> None:
    box = Sandbox(backend, replace(LIMITS, processes=12))
    program = """
children = 0
try:
    while children < 100:
        if os.fork() == 0: time.sleep(60)
        children += 1
except BlockingIOError: print(children)
"""
    count = int(python(box, program))
    assert 5 < count < 12


def num_running(mark: str) -> int:
    """Return how many processes of the system have this text in their arguments."""
    count = 0
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            count += any(mark in argument for argument in process.cmdline())
    return count


def test_a_fork_bomb_ends(backend: Backend) -> None:
    box = Sandbox(backend, replace(LIMITS, seconds=2))
    mark = f"# {uuid.uuid4()}"
    program = f"import os {mark}\nwhile True:\n try: os.fork()\n except OSError: pass"
    with ThreadPoolExecutor() as threads:
        result = threads.submit(box.run_command, Command(("python3", "-c", program)))
        most = 0
        while not result.done():
            most = max(most, num_running(mark))
        assert result.result().outcome is Outcome.TIMED_OUT
    assert 2 < most <= 2 * LIMITS.processes
    deadline = time.monotonic() + 10
    while num_running(mark):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_size_of_the_private_folder_is_limited(backend: Backend) -> None:
    box = Sandbox(backend, Limits(folder_bytes=4 << 20))
    fill = "for number in range({}): open(f'/private/{{number}}', 'wb').write(bytes(1 << 20))"
    assert attempt(box, fill.format(8)) == "ENOSPC"
    assert attempt(box, fill.format(2)) == ""


def test_the_number_of_files_in_the_private_folder_is_limited(backend: Backend) -> None:
    box = Sandbox(backend, Limits(folder_files=2000, seconds=8))
    command = (
        "import os\nfor i in range({}): os.mkdir(f'/private/{{i}}')\nimport time; time.sleep(0.5)"
    )
    many = Command(("python3", "-c", command.format(20_000)))
    result = box.run_command(many)
    assert result.outcome is Outcome.FAILED
    assert (b"No space left" in result.output) is (backend is Backend.OWN)
    few = Command(("python3", "-c", command.format(1000)))
    assert box.run_command(few).outcome is Outcome.PASSED


def test_the_size_of_a_file_and_the_number_of_open_files_are_limited(backend: Backend) -> None:
    box = Sandbox(backend, Limits(file_bytes=1 << 20, open_files=20))
    assert attempt(box, "open('/private/x', 'wb', 0).write(bytes(1 << 19))") == ""
    assert (
        attempt(box, "f = open('/private/x', 'wb', 0)\nwhile True: f.write(bytes(1 << 19))")
        == "EFBIG"
    )
    assert attempt(box, "files = [open('/dev/null') for _ in range(30)]") == "EMFILE"


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_endless_output_is_stopped(backend: Backend, stream: str) -> None:
    box = Sandbox(backend, Limits(output_bytes=100_000))
    program = f"import sys\nwhile True: sys.{stream}.write('a' * 1000)"
    started = time.monotonic()
    result = box.run_command(Command(("python3", "-c", program)))
    assert result.outcome is Outcome.FAILED
    assert 90_000 < len(result.output) <= 100_000
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "program",
    [
        "time.sleep(60)",
        "while True: pass",
        "os.close(0), os.close(1), os.close(2), time.sleep(60)",
        "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 60)); time.sleep(60)",
        "os.fork(), os.fork(), os.setsid() if os.getpid() % 2 else 0, time.sleep(60)",
    ],
)
def test_the_time_is_limited(backend: Backend, program: str) -> None:
    box = Sandbox(backend, replace(LIMITS, seconds=1.5))
    started = time.monotonic()
    command = Command(("python3", "-c", "import os, signal, time\n" + program))
    assert box.run_command(command).outcome is Outcome.TIMED_OUT
    assert time.monotonic() - started < 5


def test_the_cpu_time_is_limited(backend: Backend) -> None:
    box = Sandbox(backend, replace(LIMITS, cpu_seconds=1))
    started = time.monotonic()
    result = box.run_command(Command(("python3", "-c", "while True: pass")))
    assert (result.outcome, result.status) == (Outcome.FAILED, 128 + 9)
    assert time.monotonic() - started < 10


def test_a_program_that_does_not_read_its_input_ends(box: Sandbox) -> None:
    result = box.run_command(Command(("true",), stdin=bytes(1 << 20)))
    assert result.outcome is Outcome.PASSED
    result = box.run_command(Command(("wc", "-c"), stdin=bytes(1 << 20)))
    assert result.output.strip() == b"1048576"
