"""Tests of functions that do harm run in the sandbox: nothing outside of it changes."""

import asyncio
import socket
import time
from pathlib import Path

import psutil
import pytest

from chat.tasks.checking.checking import CheckSettings
from engine.errors import RequestError
from tests.chat.tasks.checking.python_projects import (
    NEEDS_SANDBOX,
    allow,
    environment,
    our_python,
    root,
    snapshot,
    write,
)

__all__ = ["environment", "our_python", "root"]
pytestmark = [NEEDS_SANDBOX, pytest.mark.usefixtures("our_python")]

HOSTILE = {
    "delete files": (
        "import shutil\n\n\ndef harm(n):\n    shutil.rmtree('.', ignore_errors=True)\n"
        "    shutil.rmtree({home!r}, ignore_errors=True)\n    return n\n"
    ),
    "write files": (
        "import pathlib\n\n\ndef harm(n):\n    for path in ('evil.py', 'mod.py', {home!r} + '/evil'):\n"
        "        try:\n            pathlib.Path(path).write_text('evil')\n"
        "        except OSError:\n            pass\n    return n\n"
    ),
    "fork": (
        "import os, time\n\n\ndef harm(n):\n    for _ in range(2000):\n        try:\n"
        "            if os.fork() == 0:\n                time.sleep(1000)\n"
        "        except OSError:\n            break\n    return n\n"
    ),
    "kill all": "import os\n\n\ndef harm(n):\n    os.kill(-1, 9)\n    return n\n",
    "print a gigabyte": "def harm(n):\n    for _ in range(1000):\n        print('x' * 1_000_000)\n    return n\n",
}
FATAL = {
    "loop forever": "def harm(n):\n    while True:\n        pass\n",
    "use all memory": "def harm(n):\n    data = []\n    while True:\n        data.append(bytearray(10_000_000))\n",
    "fork forever": "import os\n\n\ndef harm(n):\n    while True:\n        os.fork()\n",
}
ANSWER = "():\n    assert harm(1) == 1\n```"


@pytest.mark.parametrize("what", HOSTILE)
async def test_nothing_outside_changes(what: str, root: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o777)
    home.chmod(0o777)
    (home / "letter").write_text("dear")
    code = HOSTILE[what].replace("{home!r}", repr(str(home)))
    before = children()
    # On a busy machine the test takes too long and is not shown.
    assert (await outcome(root, code)).startswith(("1 test", "None of the"))
    assert snapshot(root) == {root / "mod.py": code.encode()}
    assert snapshot(home) == {home / "letter": b"dear"}
    await no_processes_left(before)


@pytest.mark.parametrize("what", FATAL)
async def test_code_that_ends_or_stops_its_process(what: str, root: Path) -> None:
    before = children()
    start, longest = time.monotonic(), 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            last = time.monotonic()
            await asyncio.sleep(0.01)
            longest = max(longest, time.monotonic() - last)

    watching = asyncio.create_task(watch())
    with pytest.raises(RequestError, match=r"None of the \d tests of harm that the model wrote"):
        await write(root, FATAL[what], ANSWER, check=CheckSettings(allow, seconds=1))
    watching.cancel()
    assert time.monotonic() - start < 100
    assert longest < 5, "the editor must stay responsive"
    await no_processes_left(before)


async def test_no_socket_can_be_reached(root: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        port = server.getsockname()[1]
        code = (
            "import socket\n\n\ndef reach(n):\n    try:\n"
            f"        socket.create_connection(('127.0.0.1', {port}), 1)\n"
            "    except OSError:\n        return 'no'\n    return 'yes'\n"
        )
        proposal = await write(root, code, "():\n    assert reach(1) == 'yes'\n```")
        assert '== "no"  # current behaviour' in "".join(edit.text for edit in proposal.edits)
        with pytest.raises(BlockingIOError):
            server.accept()


async def test_cancelling_the_task_ends_the_tests(root: Path) -> None:
    before = children()
    task = asyncio.create_task(write(root, FATAL["loop forever"], ANSWER))
    await asyncio.sleep(2)  # the tests run for longer
    task.cancel()
    start = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - start < 1.5
    await no_processes_left(before)


async def test_results_that_the_code_prints_are_not_believed(root: Path) -> None:
    code = (
        "import os\n\n\ndef forge(n):\n    for fd in range(3):\n        try:\n"
        '            os.write(fd, b\'["end", "mod.py::test_forge", true]\\n\')\n'
        "        except OSError:\n            pass\n    raise SystemExit\n"
    )
    with pytest.raises(RequestError, match="None of the"):
        await write(root, code, "():\n    assert forge(1) == 1\n```")


async def outcome(root: Path, code: str) -> str:
    """Return what is said about the tests of hostile code."""
    try:
        return (await write(root, code, ANSWER, check=CheckSettings(allow, seconds=1))).note
    except RequestError as error:
        return error.user_message


def children() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


async def no_processes_left(before: set[psutil.Process]) -> None:
    """Wait until all processes that were started since then have ended."""
    for _ in range(100):
        left = children() - before
        if not left:
            return
        await asyncio.sleep(0.05)
    pytest.fail(f"these are left: {left}")
