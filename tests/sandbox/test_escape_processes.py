"""A program of a sandbox has no privilege, sees no process outside, and leaves none."""

import ctypes
import os
import platform
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from sandbox.backends import Backend
from sandbox.command import Command, Outcome
from sandbox.sandbox import Sandbox
from sandbox.system_calls import FILTERED, PROCESSORS, forbidden
from tests.sandbox.conftest import LIMITS
from tests.sandbox.escapes import attempt, python

ROOT = Path(__file__).parents[2]


def running(mark: str) -> list[psutil.Process]:
    """The processes whose arguments contain a mark."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(mark in part for part in process.info["cmdline"] or ())
    ]


def wait_until_none_runs(mark: str) -> None:
    for _ in range(100):
        if not running(mark):
            return
        time.sleep(0.1)
    pytest.fail(f"{running(mark)} still run")


def test_a_program_has_no_privilege(box: Sandbox) -> None:
    status = dict(
        line.split(":", 1)
        for line in python(box, "print(open('/proc/self/status').read())").splitlines()
        if ":" in line
    )
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[name], 16) == 0, name
    assert status["NoNewPrivs"].strip() == "1"
    assert status["Seccomp"].strip() == "2"
    assert set(status["Uid"].split()) == set(status["Gid"].split()) == {"65534"}
    assert attempt(box, "os.setuid(0)") in ("EPERM", "EINVAL")
    assert attempt(box, "os.setgroups([0])") == "EPERM"


def test_a_program_is_never_root_outside(backend: Backend) -> None:
    """Linux limits neither the processes of root nor what root does to its own files."""
    mark = f"sleeper-{os.getpid()}-{backend}"
    command = Command((sys.executable, "-c", "import time; time.sleep(20)", mark))
    with subprocess.Popen(
        [sys.executable, "-c", CALLER, backend, *command.arguments], env=ENVIRONMENT
    ) as child:
        try:
            (process,) = wait_for_program(mark)
            ids = {*process.uids(), *process.gids()}
            assert ids == {65534} if os.getuid() == 0 else 0 not in ids
            assert process.terminal() is None
        finally:
            child.kill()
    wait_until_none_runs(mark)


@pytest.mark.parametrize("name", sorted(forbidden(platform.machine())))
def test_a_dangerous_system_call_is_refused(box: Sandbox, name: str) -> None:
    number = forbidden(platform.machine())[name]
    assert attempt(box, f"call(libc.syscall, {number}, 0, 0, 0, 0, 0, 0)") == "EPERM"


@pytest.mark.parametrize(
    "flag", [0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000]
)
def test_no_namespace_can_be_made(box: Sandbox, flag: int) -> None:
    clone, clone3 = (
        FILTERED[name][PROCESSORS[platform.machine()].column] for name in ("clone", "clone3")
    )
    program = (
        "child = libc.syscall({}, {}, 0, 0, 0, 0)\nif child == 0: os._exit(0)\ncall(lambda: child)"
    )
    assert attempt(box, program.format(clone, flag | signal.SIGCHLD)) == "EPERM"
    assert attempt(box, program.format(clone, signal.SIGCHLD)) == ""
    assert attempt(box, f"call(libc.syscall, {clone3}, 0, 0)") == "ENOSYS"
    assert attempt(box, f"call(libc.unshare, {flag})") == "EPERM"


def test_system_calls_that_the_filter_does_not_know_do_not_exist(box: Sandbox) -> None:
    x32_getpid = 0x40000000 | 39
    for number in (470, 1000, x32_getpid, 0xFFFFFFFF):
        assert attempt(box, f"call(libc.syscall, {number}, 0)") == "ENOSYS"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="optional: needs an x86 processor")
def test_system_calls_of_32_bit_programs_end_the_program(box: Sandbox) -> None:
    getpid = b"\xb8\x14\x00\x00\x00\xcd\x80\xc3"  # mov eax, 20; int 0x80; ret
    program = f"""
import mmap
code = mmap.mmap(-1, 4096, prot=7)
code.write({getpid!r})
address = ctypes.addressof(ctypes.c_char.from_buffer(code))
print('before', flush=True)
ctypes.CFUNCTYPE(ctypes.c_long)(address)()
print('after')
"""
    assert python(box, program).split() == ["before"]


@pytest.mark.parametrize(
    "statements",
    [
        "call(libc.mount, b'a', b'/private', b'tmpfs', 0, 0)",
        "call(libc.mount, None, b'/', None, 0x20, 0)",
        "call(libc.mount, b'/usr', b'/private', None, 0x1000, 0)",
        "call(libc.umount2, b'/usr', 2)",
        "os.chroot('/private')",
        "call(libc.ptrace, 0, 0, 0, 0)",
        "call(libc.ptrace, 16, 1, 0, 0)",
        "time.clock_settime(time.CLOCK_REALTIME, 0)",
        "socket.sethostname('theirs')",
        "os.nice(-1)",
        "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))",
        "os.setpriority(os.PRIO_PROCESS, 0, -5)",
        "open('/proc/sys/kernel/hostname', 'w')",
        "open('/proc/sysrq-trigger', 'w')",
        "open('/proc/self/oom_score_adj', 'w')",
        "open('/proc/self/uid_map', 'w')",
        "open('/proc/1/environ').read()",
        "open('/proc/1/mem', 'r+b')",
        "open('/proc/1/root/etc/shadow')",
        "open('/proc/kcore', 'rb')",
        "open('/proc/kmsg', 'rb')",
    ],
)
def test_what_needs_a_privilege_is_refused(box: Sandbox, statements: str) -> None:
    assert attempt(box, statements) in ("EPERM", "EACCES", "EROFS", "ENOENT")


def test_no_process_of_a_sandbox_has_a_privilege(box: Sandbox) -> None:
    program = (
        "print(*[open(f'/proc/{n}/status').read() for n in os.listdir('/proc') if n.isdigit()])"
    )
    status = [line.split() for line in python(box, program).splitlines()]
    for name, value in (("CapEff:", "0" * 16), ("CapPrm:", "0" * 16), ("NoNewPrivs:", "1")):
        values = [words[1] for words in status if words[:1] == [name]]
        assert values == [value, value], name
    assert [words[1] for words in status if words[:1] == ["Seccomp:"]] == ["2", "2"]


def test_the_other_processes_of_a_sandbox_have_nothing_to_take(box: Sandbox) -> None:
    """The first process of the namespace is not the program. It must not hold more than pipes."""
    program = """
for number in [name for name in os.listdir('/proc') if name.isdigit()]:
    try: names = os.listdir(f'/proc/{number}/fd')
    except OSError: continue
    for name in names:
        for flags in (os.O_RDONLY, os.O_WRONLY):
            try: opened = os.open(f'/proc/{number}/fd/{name}', flags | os.O_NONBLOCK)
            except OSError: continue
            if not stat.S_ISFIFO(os.fstat(opened).st_mode) and number != str(os.getpid()):
                print('TAKEN', number, name)
print('done')
"""
    assert python(box, program) == "done\n"


def test_a_limit_cannot_be_raised(box: Sandbox) -> None:
    program = "import resource; resource.setrlimit(resource.RLIMIT_NPROC, (1000, 1000))"
    assert "not allowed to raise maximum limit" in python(box, program)


def test_the_kernel_of_the_filter_knows_the_numbers() -> None:
    """libseccomp knows the numbers of all processors."""
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        pytest.skip("optional: libseccomp is not installed")
    for machine, processor in PROCESSORS.items():
        numbers = {
            **forbidden(machine),
            **{name: pair[processor.column] for name, pair in FILTERED.items()},
        }
        for name, number in numbers.items():
            resolve = library.seccomp_syscall_resolve_name_arch
            listed = resolve(ctypes.c_uint32(processor.audit_arch), name.encode())
            # -1 is a call that is newer than the library.
            assert listed in (number, -1), name
            assert listed != -1 or number > 420, name


def test_processes_outside_are_neither_seen_nor_signalled(box: Sandbox) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as sleeper:
        try:
            pids = [
                int(name)
                for name in python(box, "print(*os.listdir('/proc'))").split()
                if name.isdigit()
            ]
            assert pids
            assert max(pids) < 10
            kill = "for number in range(2, {}): \n  if number != os.getpid(): os.kill(number, {})"
            assert attempt(box, f"os.kill({sleeper.pid + 100000}, 9)") == "ESRCH"
            assert attempt(box, kill.format(10, 9)) == "ESRCH"
            assert (
                attempt(box, f"os.kill({sleeper.pid}, 9) if {sleeper.pid} > 10 else os.kill(99, 9)")
                == "ESRCH"
            )
            python(box, "os.kill(-1, 9)")
            python(box, "os.kill(0, 9)")
            python(box, "os.kill(1, 9)")
            assert sleeper.poll() is None
        finally:
            sleeper.kill()


DAEMON = """
import subprocess
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        if os.fork() != 0: os._exit(0)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        for number in range(3): os.close(number)
        os.execv(sys.executable, [sys.executable, '-c', 'import time; time.sleep(60)', {mark!r}])
time.sleep(1)
"""


@pytest.mark.parametrize("end", ["", "while True: time.sleep(1)", "os.kill(os.getpid(), 9)"])
def test_no_process_of_a_program_survives(box: Sandbox, end: str) -> None:
    mark = f"daemon-{os.getpid()}-{box.backend}"
    box = replace(box, limits=replace(LIMITS, seconds=3))
    python(box, DAEMON.format(mark=mark) + end)
    wait_until_none_runs(mark)


CALLER = """
import sys
from sandbox.backends import Backend
from sandbox.command import Command
from sandbox.sandbox import Sandbox
Sandbox(Backend(sys.argv[1])).run_command(Command(tuple(sys.argv[2:])))
"""
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def wait_for_program(mark: str) -> list[psutil.Process]:
    """The processes with a mark, besides the caller and the processes that start the program."""
    for _ in range(200):
        matching = [p for p in running(mark) if CALLER not in p.info["cmdline"]]
        if matching:
            return matching
        time.sleep(0.05)
    pytest.fail("the program did not start")


def test_a_program_dies_with_its_caller(backend: Backend) -> None:
    mark = f"orphan-{os.getpid()}-{backend}"
    arguments = [sys.executable, "-c", "import time; time.sleep(60)", mark]
    with subprocess.Popen(
        [sys.executable, "-c", CALLER, backend, *arguments], env=ENVIRONMENT
    ) as caller:
        wait_for_program(mark)
        started = time.monotonic()
        caller.kill()
    wait_until_none_runs(mark)
    assert time.monotonic() - started < 8  # the sandbox would end it after 10 seconds


@pytest.mark.parametrize(
    ("program", "status"),
    [
        ("sys.exit(0)", 0),
        ("sys.exit(7)", 7),
        ("os.kill(os.getpid(), 11)", 139),
        ("os.abort()", 134),
    ],
)
def test_the_status_of_a_command(box: Sandbox, program: str, status: int) -> None:
    command = Command((sys.executable, "-c", f"import os, sys; print('x', flush=True); {program}"))
    result = box.run_command(command)
    assert result.status == status
    assert result.output.startswith(b"x\n")
    assert (result.outcome is Outcome.PASSED) is (status == 0)


def test_a_signal_to_the_own_group_reaches_only_the_program(box: Sandbox) -> None:
    result = box.run_command(Command((sys.executable, "-c", "import os; os.kill(0, 15)")))
    assert result.status == 128 + signal.SIGTERM
    own = "print(0 not in (os.getsid(0), os.getpgid(0)))"  # 0 is a session outside
    assert python(box, own) == "True\n"


def test_a_command_that_does_not_exist_fails(box: Sandbox) -> None:
    result = box.run_command(Command(("no-such-command",)))
    assert result.outcome is Outcome.FAILED
    assert b"No such file" in result.output
