"""What a sandbox shows, and the filter of system calls for each processor."""

import errno
import os
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import ConfigurationError
from sandbox import layout as layouts
from sandbox.backends import bubblewrap_arguments
from sandbox.command import PRIVATE_FOLDER, Limits
from sandbox.layout import Layout, layout_for
from sandbox.seccomp import filter_program, has_filter
from sandbox.system_calls import FILTERED, PROCESSORS, forbidden

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="optional: isolation needs Linux")


@pytest.fixture(autouse=True)
def fresh_layout() -> Iterator[None]:
    layouts._interpreter_layout.cache_clear()
    yield
    layouts._interpreter_layout.cache_clear()


def use_python(monkeypatch: pytest.MonkeyPatch, executable: Path, prefix: Path, base: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(executable))
    monkeypatch.setattr(sys, "prefix", str(prefix))
    monkeypatch.setattr(sys, "base_prefix", str(base))


def make_python(folder: Path) -> Path:
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/python").touch()
    return folder


def targets(layout: Layout) -> set[str]:
    return {target for _, target in layout.binds}


def test_all_folders_on_the_way_to_the_interpreter_are_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An environment links to a minor version, which links to a patch version."""
    monkeypatch.setenv("HOME", str(tmp_path))
    patch = make_python(tmp_path / "pythons/3.11.9")
    minor = tmp_path / "pythons/3.11"
    minor.symlink_to("3.11.9")
    environment = tmp_path / "project/.venv"
    (environment / "bin").mkdir(parents=True)
    (environment / "bin/python").symlink_to(minor / "bin/python")
    use_python(monkeypatch, environment / "bin/python", environment, patch)
    layout = layout_for(())
    assert {str(patch), str(minor), str(environment)} <= targets(layout)
    assert (str(patch), str(minor)) in layout.binds
    assert not any(tmp_path.is_relative_to(target) for target in targets(layout))


@pytest.mark.parametrize("where", ["prefix", "base"])
def test_an_interpreter_around_the_home_folder_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, where: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    around, elsewhere = make_python(tmp_path), make_python(tmp_path / "python")
    prefix, base = (around, elsewhere) if where == "prefix" else (elsewhere, around)
    use_python(monkeypatch, elsewhere / "bin/python", prefix, base)
    with pytest.raises(ConfigurationError, match="contains your home folder"):
        layout_for(())


def test_special_files_are_listed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    python, project = make_python(tmp_path / "python"), tmp_path / "project/deep/er"
    use_python(monkeypatch, python / "bin/python", python, python)
    project.mkdir(parents=True)
    (tmp_path / "project/link").symlink_to("/dev/zero")
    (tmp_path / "project/file").touch()
    os.mkfifo(python / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(project / "s"))
        layout = layout_for((tmp_path / "project",))
    assert set(layout.special_files) == {str(python / "fifo"), str(project / "s")}
    os.mkfifo(tmp_path / "alone")
    assert str(tmp_path / "alone") in layout_for((tmp_path / "alone",)).special_files


def test_a_folder_of_many_special_files_is_refused(tmp_path: Path) -> None:
    for number in range(201):
        os.mkfifo(tmp_path / str(number))
    with pytest.raises(ConfigurationError, match="FIFOs, sockets or devices"):
        layout_for((tmp_path,))


def test_a_path_is_shown_once_and_a_link_at_both_paths(tmp_path: Path) -> None:
    (tmp_path / "project/inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to("project")
    shown = layout_for((tmp_path / "link", tmp_path / "project/inner", Path("/usr/bin")))
    added = [bind for bind in shown.binds if str(tmp_path) in bind[1]]
    assert added == [
        (str(tmp_path / "project"), str(tmp_path / "project")),
        (str(tmp_path / "project"), str(tmp_path / "link")),
    ]
    assert "/usr/bin" not in targets(shown)


def test_the_temporary_folder_is_the_private_one_if_nothing_in_it_is_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use_python(monkeypatch, Path("/usr/bin/python3"), Path("/usr"), Path("/usr"))
    link = (PRIVATE_FOLDER, "/tmp")
    assert link in layout_for(()).links
    project = Path("/tmp") / f"project-{os.getpid()}"
    project.mkdir()
    try:
        assert link not in layout_for((project,)).links
    finally:
        project.rmdir()


def test_everything_for_bubblewrap_is_read_only(tmp_path: Path) -> None:
    arguments = bubblewrap_arguments(layout_for((tmp_path,)), Limits())
    assert "--bind" not in arguments
    devices = {arguments[i + 1] for i, word in enumerate(arguments) if word == "--dev-bind"}
    assert devices <= set(layouts.DEVICES)
    assert arguments[-2:] == ["--remount-ro", "/"]


ALLOW, KILL, ERROR = 0x7FFF0000, 0x80000000, 0x00050000


def decide(program: bytes, arch: int, number: int, *arguments: int) -> int:
    """Interpret a filter, as the kernel does, and return its answer."""
    values = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("<IIQ6Q", number, arch, 0, *values)
    position = accumulator = 0
    while True:
        code, true, false, operand = struct.unpack_from("=HBBI", program, 8 * position)
        position += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, operand)
        elif code == 0x54:
            accumulator &= operand
        elif code == 0x06:
            return int(operand)
        else:
            holds = {0x15: accumulator == operand, 0x25: accumulator > operand}
            position += true if holds.get(code, bool(accumulator & operand)) else false


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_of_each_processor(machine: str) -> None:
    program, processor = filter_program(machine), PROCESSORS[machine]
    numbers = {name: pair[processor.column] for name, pair in FILTERED.items()}

    def answer(number: int, *arguments: int) -> int:
        return decide(program, processor.audit_arch, number, *arguments)

    refused = set(forbidden(machine).values())
    for number in range(1000):
        if number in refused:
            assert answer(number) == ERROR | errno.EPERM
        elif number > 469 or number == numbers["clone3"]:
            assert answer(number) == ERROR | errno.ENOSYS
        elif number not in (numbers["socket"], numbers["socketpair"]):
            assert answer(number) == ALLOW
    assert decide(program, 0x40000003, 20) == KILL
    for flag in (0x00020000, 0x02000000, 0x04000000, 0x08000000, 1 << 28, 1 << 29, 1 << 30):
        assert answer(numbers["clone"], flag | 17) == ERROR | errno.EPERM
    for flags in (17, 0x003D0F00, 0x00010000 | 0x01000000):  # a process, a thread, the neighbours
        assert answer(numbers["clone"], flags) == ALLOW
    for family in range(50):
        is_allowed = answer(numbers["socket"], family, 1) == ALLOW
        assert is_allowed is (family in (socket.AF_INET, socket.AF_INET6))
        is_allowed = answer(numbers["socketpair"], family, 1 | 0o2000000) == ALLOW
        assert is_allowed is (family == socket.AF_UNIX)
    for protocol in range(300):
        is_allowed = answer(numbers["socket"], socket.AF_INET6, 1, protocol) == ALLOW
        assert is_allowed is (protocol in (0, socket.IPPROTO_TCP, socket.IPPROTO_UDP))
    assert answer(numbers["socketpair"], socket.AF_UNIX, socket.SOCK_SEQPACKET) == ALLOW
    for kind in (0, 2, 3, 4, 6):
        assert answer(numbers["socketpair"], socket.AF_UNIX, kind) == ERROR | errno.EAFNOSUPPORT
    for request, expected in ((0x5412, errno.EPERM), (0x541C, errno.EPERM), (0x5413, None)):
        expected_answer = ALLOW if expected is None else ERROR | expected
        assert answer(numbers["ioctl"], 0, request) == expected_answer


def test_other_processors_have_no_filter() -> None:
    assert has_filter("x86_64")
    assert not has_filter("riscv64")
