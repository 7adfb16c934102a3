"""A program of a sandbox sees few files, and changes none outside of its private folder."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox.backends import Backend
from sandbox.command import Command, Limits
from sandbox.sandbox import Sandbox
from tests.sandbox.escapes import attempt, python

Place = tuple[Path, tuple[Path, ...]]
BARE = Sandbox(Backend.NONE)


def test_a_secret_cannot_be_read(box: Sandbox, place: Place) -> None:
    folder, readable = place
    secret = folder / "secret"
    secret.write_text("mine")
    read = f"open({str(secret)!r}).read()"
    assert attempt(BARE, read) == ""
    assert attempt(box, read) == "ENOENT"
    assert (attempt(replace(box, readable=readable), read) == "") is bool(readable)


@pytest.mark.parametrize(
    "path",
    [
        "/etc/shadow",
        "/etc/passwd",
        "/etc/hostname",
        "/var",
        "/run",
        "/sys",
        "/boot",
        "/home",
        "/mnt",
    ],
)
def test_the_system_is_mostly_invisible(box: Sandbox, path: str) -> None:
    prefixes = (sys.prefix, sys.base_prefix, os.path.realpath(sys.executable))
    if any(prefix.startswith(f"{path}/") for prefix in prefixes):
        pytest.skip("optional: Python is installed there")
    assert attempt(box, f"os.stat({path!r})") == "ENOENT"


def test_the_home_folder_shows_the_interpreter_at_most(box: Sandbox) -> None:
    home = str(Path.home())
    names = python(box, f"print(*os.listdir({home!r}) if os.path.exists({home!r}) else ())").split()
    needed = {
        Path(prefix) for prefix in (sys.prefix, sys.base_prefix, os.path.realpath(sys.executable))
    }
    assert all(any(path.is_relative_to(Path(home, name)) for path in needed) for name in names)


def test_the_private_folder_is_the_only_one_that_can_be_written(
    box: Sandbox, tmp_path: Path
) -> None:
    tmp_path.chmod(0o777)
    (tmp_path / "kept").write_text("mine")
    box = replace(box, readable=(tmp_path,))
    program = f"""
kinds = set()
for folder, folders, files in os.walk('/'):
    if folder == '/':
        folders.remove('private'), folders.remove('proc')
    if folder.count('/') > 6: folders.clear()
    path = os.path.join(folder, 'theirs')
    for action in (lambda: open(path, 'w'), lambda: os.mkdir(path), lambda: os.mkfifo(path),
                   lambda: os.symlink('/', path), lambda: os.chmod(folder, 0o777),
                   lambda: os.utime(folder), lambda: os.rename(folder, folder + '2'),
                   lambda: os.setxattr(folder, 'user.x', b'x')):
        try: action()
        except OSError as error: kinds.add(errno.errorcode[error.errno])
        else: print('CHANGED', folder)
print(len(kinds))
for path in ({str(tmp_path / "kept")!r}, sys.executable):
    for action in (lambda: open(path, 'a'), lambda: os.remove(path), lambda: os.truncate(path, 0),
                   lambda: os.link(path, '/private/link'), lambda: os.chmod(path, 0o777)):
        try: action()
        except OSError: pass
        else: print('CHANGED', path)
open('/private/a', 'w').write('x'); os.mkdir('b'); open('/dev/shm/c', 'w'); print(os.getcwd())
"""
    output = python(box, program)
    assert "CHANGED" not in output
    assert output.split()[-1] == "/private"
    assert (tmp_path / "kept").read_text() == "mine"
    assert os.listdir(tmp_path) == ["kept"]


def test_all_mounts_are_restricted(box: Sandbox, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    box = replace(box, readable=(tmp_path,))
    mounts = [line.split()[4:6] for line in python(box, MOUNTS).strip().splitlines()]
    options = {path: set(words.split(",")) for path, words in mounts}
    assert {"/", "/usr", "/private", "/proc", "/dev/null", str(tmp_path)} <= options.keys()
    for path, words in options.items():
        is_device = path.startswith("/dev/")
        assert "nosuid" in words, path
        assert "nodev" in words or is_device, path
        assert "ro" in words or path == "/private" or is_device, path


MOUNTS = "print(open('/proc/self/mountinfo').read())"


def test_the_private_folder_is_new_each_time(box: Sandbox) -> None:
    program = "print(os.listdir('/private')); open('/private/a', 'w')"
    assert python(box, program) == python(box, program) == "[]\n"


@pytest.mark.parametrize("path", ["/etc/shadow", "/proc/1/root/etc/shadow", "/../etc/shadow"])
def test_a_link_in_the_private_folder_leads_nowhere(box: Sandbox, path: str) -> None:
    assert attempt(box, f"os.symlink({path!r}, 'x'); open('x')") in ("ENOENT", "EACCES")
    assert attempt(box, f"os.link({path!r}, '/private/x')") in ("ENOENT", "EACCES")


def test_a_link_in_a_project_leads_nowhere(box: Sandbox, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    (tmp_path / "link").symlink_to("/etc/passwd")
    (tmp_path / "inside").write_text("x")
    box = replace(box, readable=(tmp_path,))
    assert attempt(box, f"open({str(tmp_path / 'link')!r})") == "ENOENT"
    assert attempt(box, f"open({str(tmp_path / 'inside')!r})") == ""


def test_there_are_only_harmless_devices(box: Sandbox) -> None:
    names = set(python(box, "print(*os.listdir('/dev'))").split())
    devices = {"null", "zero", "full", "random", "urandom"}
    links = {"fd", "stdin", "stdout", "stderr", "shm"}
    assert names == devices | links
    program = """
for folder, _, files in os.walk('/'):
    if folder.startswith('/proc'): continue
    for name in files:
        mode = os.lstat(path := os.path.join(folder, name)).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)): print(path)
"""
    assert {Path(line).name for line in python(box, program).splitlines()} == devices
    assert attempt(box, "open('/dev/null', 'w').write('x')") == ""
    assert attempt(box, "assert len(open('/dev/urandom', 'rb').read(8)) == 8") == ""


@pytest.mark.parametrize("kind", ["S_IFCHR", "S_IFBLK"])
def test_a_device_cannot_be_made(box: Sandbox, kind: str) -> None:
    for numbers in ((1, 1), (1, 3), (254, 0), (5, 2)):
        make = f"os.mknod('/private/x', stat.{kind} | 0o666, os.makedev{numbers!r})"
        assert attempt(box, make) == "EPERM"


def test_special_files_of_a_project_are_hidden_when_it_is_shown(
    box: Sandbox, tmp_path: Path
) -> None:
    if os.getuid() != 0:
        pytest.skip("optional: only root can make a device")
    tmp_path.chmod(0o777)
    device = tmp_path / "disk"
    try:
        os.mknod(device, 0o020666, os.makedev(1, 5))
        device.chmod(0o666)
    except PermissionError:
        pytest.skip("optional: this container cannot make devices")
    box = replace(box, readable=(tmp_path,))
    assert attempt(box, f"open({str(device)!r}, 'rb')") == "EACCES"


def test_a_command_runs_in_a_project_with_its_environment(box: Sandbox, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    (tmp_path / "data.txt").write_text("mine")
    (tmp_path / "data.txt").chmod(0o644)
    arguments = ("sh", "-c", "cat data.txt -; echo $NAME $HOME $SECRET; exit 3")
    command = Command(arguments, b"stdin", {"PATH": "/bin:/usr/bin", "NAME": "x"}, tmp_path)
    os.environ["SECRET"] = "mine"
    try:
        result = replace(box, readable=(tmp_path,)).run_command(command)
    finally:
        del os.environ["SECRET"]
    assert (result.output, result.status) == (b"minestdinx /private\n", 3)


def test_a_project_in_the_temporary_folder_hides_its_neighbours(
    box: Sandbox, tmp_path: Path
) -> None:
    tmp_path.chmod(0o777)
    project = tmp_path / "project"
    project.mkdir()
    (tmp_path / "secret").write_text("mine")
    program = f"print(os.listdir({str(tmp_path)!r}))"
    assert python(replace(box, readable=(project,)), program) == "['project']\n"


def test_the_environment_of_a_program_is_not_in_the_arguments_of_a_process(
    backend: Backend,
) -> None:
    """Every user of a machine can read the arguments of all processes."""
    command = Command(
        ("sleep", "30"), environment={"PATH": "/bin:/usr/bin", "KEY": "my-secret-key"}
    )
    child = subprocess.Popen(
        [sys.executable, "-c", CALLER, backend, repr(dict(command.environment))],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    try:
        for _ in range(100):
            listed = subprocess.run(
                ["ps", "-eo", "args"], capture_output=True, text=True, check=True
            )
            mine = [line for line in listed.stdout.splitlines() if "my-secret-key" in line]
            assert all(CALLER.split("\n")[1] in line or "tests" in line for line in mine)
            if any(line == "sleep 30" for line in listed.stdout.splitlines()):
                break
        else:
            pytest.fail("the program did not start")
    finally:
        child.kill()
        child.wait()


CALLER = """
import sys
from ast import literal_eval
from sandbox.backends import Backend
from sandbox.command import Command
from sandbox.sandbox import Sandbox
Sandbox(Backend(sys.argv[1])).run_command(Command(("sleep", "30"), b"", literal_eval(sys.argv[2])))
"""


def test_limits_of_the_private_folder(backend: Backend) -> None:
    box = Sandbox(backend, Limits(folder_bytes=4 << 20))
    fill = "for number in range(100): open(f'/private/{number}', 'wb').write(bytes(1 << 20))"
    assert attempt(box, fill) == "ENOSPC"
    assert attempt(
        Sandbox(backend, Limits(file_bytes=1 << 20)), "open('x', 'wb').write(bytes(2 << 20))"
    )
