"""Generated programs: correct ones pass, wrong ones fail, harmful ones do no harm."""

import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import ConfigurationError
from fim.evaluation import sandbox as sandboxing
from fim.evaluation.sandbox import Limits, Outcome, Sandbox, isolation_problem, make_sandbox

isolated = pytest.mark.skipif(
    sys.platform != "linux" or isolation_problem() is not None,
    reason="optional: the system does not let users make namespaces",
)
LIMITS = Limits(seconds=5, cpu_seconds=4)

MODES = [pytest.param(True, marks=isolated), False]


@pytest.mark.parametrize("isolate", MODES)
@pytest.mark.parametrize(
    ("program", "outcome"),
    [
        ("assert 1 + 1 == 2", Outcome.PASSED),
        ("print('🎉' * 10, end='')", Outcome.PASSED),
        ("assert 1 + 1 == 3", Outcome.FAILED),
        ("def f(:", Outcome.FAILED),
        ("import sys; sys.exit(0)", Outcome.FAILED),  # an early exit does not pass
        ("import os; os._exit(0)", Outcome.FAILED),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", Outcome.FAILED),
        ("x = bytearray(4 << 30)", Outcome.FAILED),
        ("open('big', 'wb').write(bytes(64 << 20))", Outcome.FAILED),
        ("open('small', 'w').write('a'); assert open('small').read() == 'a'", Outcome.PASSED),
        ("files = [open('small', 'w') for _ in range(1000)]", Outcome.FAILED),
        ("while True: print('a' * 10000)", Outcome.FAILED),
    ],
)
def test_the_outcome_of_a_program(program: str, outcome: Outcome, isolate: bool) -> None:
    assert Sandbox(isolate, LIMITS).run(program) is outcome


@pytest.mark.parametrize("isolate", MODES)
@pytest.mark.parametrize("program", ["while True: pass", "import time; time.sleep(60)"])
def test_a_program_that_does_not_end_is_stopped(program: str, isolate: bool) -> None:
    started = time.monotonic()
    limits = replace(LIMITS, seconds=1.5)
    assert Sandbox(isolate, limits).run(program) is Outcome.TIMED_OUT
    assert time.monotonic() - started < 10


@isolated
def test_no_process_of_a_program_survives(tmp_path: Path) -> None:
    mark = f"sleeper-{os.getpid()}"
    child = f"import time; time.sleep(50) # {mark}"
    program = (
        "import subprocess, sys\n"
        f"subprocess.Popen([sys.executable, '-c', {child!r}], start_new_session=True)\n"
    )
    assert Sandbox(limits=LIMITS).run(program) is Outcome.PASSED
    assert Sandbox(limits=replace(LIMITS, seconds=1)).run(program + "while True: pass\n") is (
        Outcome.TIMED_OUT
    )
    for _ in range(50):
        listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
        running = [line for line in listed.stdout.splitlines() if mark in line]
        if not running:
            break
        time.sleep(0.1)
    assert running == []


@isolated
def test_nothing_outside_changes(tmp_path: Path) -> None:
    kept = tmp_path / "kept.txt"
    kept.write_text("mine")
    home = Path.home() / f"starcoder-lsp-{os.getpid()}"
    for path in (kept, tmp_path / "new.txt", home, Path(sys.prefix) / "new.txt"):
        program = f"open({str(path)!r}, 'w').write('theirs')"
        # If the temporary folder is hidden by an empty one, the folder does not even exist.
        assert Sandbox(limits=LIMITS).run(program) is Outcome.FAILED
    assert kept.read_text() == "mine"
    assert not home.exists()
    Sandbox(limits=LIMITS).run(f"import os; os.remove({str(kept)!r})")
    Sandbox(limits=LIMITS).run(f"import os; os.kill({os.getpid()}, 9)")
    assert kept.exists()


@isolated
def test_there_is_no_network_and_no_privilege() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        connected = threading.Event()

        def listen() -> None:
            server.settimeout(4)
            try:
                connection, _ = server.accept()
                connection.close()
            except OSError:
                return
            connected.set()

        listener = threading.Thread(target=listen)
        listener.start()
        program = f"import socket; socket.create_connection(('127.0.0.1', {port}), 2)"
        assert Sandbox(limits=LIMITS).run(program) is Outcome.FAILED
        assert Sandbox(False, LIMITS).run(program) is Outcome.PASSED  # the server does listen
        listener.join()
        assert connected.is_set()
    mount = "import ctypes; c = ctypes.CDLL(None); assert c.mount(b'a', b'/mnt', b'tmpfs', 0, 0)"
    assert Sandbox(limits=LIMITS).run(mount) is Outcome.PASSED  # it is refused


def test_without_isolation_tests_need_an_explicit_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandboxing, "isolation_problem", lambda: "no namespaces")
    with pytest.raises(ConfigurationError, match="--run-unsandboxed"):
        make_sandbox(unsandboxed=False)
    assert not make_sandbox(unsandboxed=True).isolated


@isolated
def test_a_program_sees_no_process_and_no_secret_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MY_SECRET", "x")
    program = "import os; assert 'MY_SECRET' not in os.environ; assert not os.listdir('/proc')"
    assert Sandbox(limits=LIMITS).run(program) is Outcome.PASSED
