"""Commands that run at the same time see their own edited files, and all of them can be stopped."""

import threading
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from chat.tasks.checking.overlays import Overlays
from chat.tasks.target import FileEdit
from sandbox.command import Command
from sandbox.sandbox import make_sandbox
from tests.chat.tasks.checking.python_projects import NEEDS_SANDBOX, root

__all__ = ["root"]
pytestmark = NEEDS_SANDBOX


def test_runs_at_the_same_time_see_their_own_files(root: Path) -> None:
    source = root / "a.txt"
    source.write_text("one two")
    box = replace(make_sandbox(), readable=(root,))
    with Overlays(box, {source: "one two"}) as overlays:

        def shown(number: int) -> str:
            edits = [FileEdit(source, 4, 7, str(number))]
            if number % 2:
                edits.append(FileEdit(root / "new.txt", 0, 0, "new"))
            script = 'sleep 0.2; for name in "$@"; do cat "$name"; echo; done'
            names = (str(source), str(root / "new.txt"))
            command = Command(("/bin/sh", "-c", script, "sh", *names))
            return overlays.run(command, edits, 20).output.decode()

        with ThreadPoolExecutor(3) as pool:
            outputs = list(pool.map(shown, range(9)))
    for number, output in enumerate(outputs):
        assert output.startswith(f"one {number}\n")
        assert ("\nnew\n" in output) == (number % 2 == 1)
    assert source.read_text() == "one two"
    assert sorted(root.iterdir()) == [source]


def test_cancelling_stops_all_runs_and_refuses_others(root: Path) -> None:
    with Overlays(make_sandbox(), {}) as overlays:
        command = Command(("/bin/sleep", "30"))
        with ThreadPoolExecutor(2) as pool:
            runs = [pool.submit(overlays.run, command, [], 40) for _ in range(2)]
            threading.Timer(1, overlays.cancel).start()
            start = time.monotonic()
            for run in runs:
                with pytest.raises(CancelledError):
                    run.result()
            assert time.monotonic() - start < 10
        with pytest.raises(CancelledError):
            overlays.run(command, [], 40)
