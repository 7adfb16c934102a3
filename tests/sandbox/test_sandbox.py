"""Generated programs: correct ones pass, wrong ones fail, also with limits only."""

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import ConfigurationError
from sandbox import sandbox as sandboxing
from sandbox.backends import Backend
from sandbox.command import Command, Limits, Outcome
from sandbox.sandbox import Sandbox, backend_problem, isolation_problem, make_sandbox
from tests.sandbox.conftest import require

LIMITS = Limits(seconds=5, cpu_seconds=4)


@pytest.fixture(params=[*Backend])
def any_box(request: pytest.FixtureRequest) -> Sandbox:
    """A sandbox of each kind, also without isolation."""
    if request.param is not Backend.NONE:
        require(request.param)
    return Sandbox(request.param, LIMITS)


@pytest.mark.parametrize(
    ("program", "outcome"),
    [
        ("assert 1 + 1 == 2", Outcome.PASSED),
        ("print('🎉' * 10, end='')", Outcome.PASSED),
        ("import atexit; atexit.register(print, 'the end')", Outcome.PASSED),
        ("assert 1 + 1 == 3", Outcome.FAILED),
        ("def f(:", Outcome.FAILED),
        ("import sys; sys.exit(0)", Outcome.FAILED),  # an early exit does not pass
        ("import os; os._exit(0)", Outcome.FAILED),
        ("import atexit, os; atexit.register(os._exit, 1)", Outcome.FAILED),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", Outcome.FAILED),
        ("x = bytearray(4 << 30)", Outcome.FAILED),
        ("open('big', 'wb').write(bytes(64 << 20))", Outcome.FAILED),
        ("open('small', 'w').write('a'); assert open('small').read() == 'a'", Outcome.PASSED),
        ("files = [open('small', 'w') for _ in range(1000)]", Outcome.FAILED),
        ("while True: print('a' * 10000)", Outcome.FAILED),
        ("import tempfile; tempfile.TemporaryFile().write(b'x')", Outcome.PASSED),
        (
            "import os; os.mkdir('a'); open('b', 'w'); os.rename('b', 'a/b'); os.link('a/b', 'c')",
            Outcome.PASSED,
        ),
        ("import asyncio; asyncio.run(asyncio.sleep(0))", Outcome.PASSED),
        ("import threading; threading.Thread(target=print).start()", Outcome.PASSED),
        (
            "import multiprocessing as m; m.get_context('fork').Pool(2).map(abs, [1])",
            Outcome.PASSED,
        ),
        (
            "import subprocess; assert subprocess.check_output(['echo', 'a']) == b'a\\n'",
            Outcome.PASSED,
        ),
    ],
)
def test_the_outcome_of_a_program(program: str, outcome: Outcome, any_box: Sandbox) -> None:
    assert any_box.run(program) is outcome


@pytest.mark.parametrize("program", ["while True: pass", "import time; time.sleep(60)"])
def test_a_program_that_does_not_end_is_stopped(program: str, any_box: Sandbox) -> None:
    started = time.monotonic()
    box = replace(any_box, limits=replace(LIMITS, seconds=1.5))
    assert box.run(program) is Outcome.TIMED_OUT
    assert time.monotonic() - started < 10


def test_a_program_without_isolation_that_leaves_a_process_ends(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    program = (
        "import os, subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(20)'])\n"
        f"open({str(mark)!r}, 'w').write(str(child.pid))\n"
    )
    started = time.monotonic()
    assert Sandbox(Backend.NONE, replace(LIMITS, seconds=15)).run(program) is Outcome.PASSED
    assert time.monotonic() - started < 10
    for _ in range(50):
        try:
            os.kill(int(mark.read_text()), 0)
        except ProcessLookupError:
            return
        if b"Z" in Path(f"/proc/{mark.read_text()}/stat").read_bytes().split()[2:3]:
            return
        time.sleep(0.1)
    pytest.fail("the child of the program still runs")


def test_without_isolation_tests_need_an_explicit_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandboxing, "backend_problem", lambda backend: f"no {backend}")
    with pytest.raises(ConfigurationError, match=r"no bubblewrap.*no own"):
        make_sandbox(unsandboxed=False)
    assert make_sandbox(unsandboxed=True).backend is Backend.NONE
    assert isolation_problem() == "bubblewrap: no bubblewrap; own: no own"


@pytest.mark.parametrize(
    ("missing", "chosen"), [(None, Backend.BUBBLEWRAP), (Backend.BUBBLEWRAP, Backend.OWN)]
)
def test_bubblewrap_is_preferred(
    monkeypatch: pytest.MonkeyPatch, missing: Backend | None, chosen: Backend
) -> None:
    problems = {missing: "not installed"}
    monkeypatch.setattr(sandboxing, "backend_problem", problems.get)
    assert make_sandbox(unsandboxed=False).backend is chosen
    assert isolation_problem() is None


@pytest.mark.skipif(sys.platform != "linux", reason="optional: isolation needs Linux")
def test_a_missing_bubblewrap_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "bwrap").write_text("#!/bin/sh\ntouch /tmp/ran\n")
    (folder / "bwrap").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    for path in ("", "bin"):  # a relative entry of PATH names a folder of the workspace
        monkeypatch.setenv("PATH", path)
        backend_problem.cache_clear()
        problem = backend_problem(Backend.BUBBLEWRAP)
        assert problem == "bubblewrap (bwrap) is not installed"
        with pytest.raises(ConfigurationError, match="is not installed"):  # it was removed later
            Sandbox(Backend.BUBBLEWRAP).run("")
    backend_problem.cache_clear()


@pytest.mark.skipif(sys.platform != "linux", reason="optional: isolation needs Linux")
def test_a_bubblewrap_that_cannot_isolate_runs_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "bwrap"
    program.write_text("#!/bin/sh\necho 'bwrap: Unknown option --size' >&2\nexit 1\n")
    program.chmod(0o755)
    tmp_path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    ran = tmp_path / "ran"
    with pytest.raises(ConfigurationError, match="Unknown option --size"):
        Sandbox(Backend.BUBBLEWRAP).run_command(Command(("touch", str(ran))))
    assert not ran.exists()


def test_a_folder_that_cannot_be_shown_is_named(box: Sandbox, tmp_path: Path) -> None:
    for path in (tmp_path / "none", Path("/"), Path("/tmp"), Path("/proc/1"), Path("/dev")):
        with pytest.raises(ConfigurationError, match=str(path)):
            replace(box, readable=(path,)).run("")


def test_a_program_sees_no_process_and_no_secret_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, box: Sandbox
) -> None:
    monkeypatch.setenv("MY_SECRET", "x")
    program = "import os; assert set(os.environ) <= {'PATH', 'LANG', 'HOME', 'TMPDIR', 'LC_CTYPE'}"
    assert box.run(program) is Outcome.PASSED
    assert Sandbox(Backend.NONE, LIMITS).run(program) is Outcome.PASSED
